-- The end of a request. KEYS[1]: the record. ARGV: owner, try, status, seconds that the answer is kept, key of its
-- conversation or '', seconds that this is kept, conversation, field, value, ...
local record = KEYS[1]
if is_at(record, ARGV[3], ARGV[1], ARGV[2]) then return {'ok'} end -- the reply was lost
if not is_at(record, 'running', ARGV[1], ARGV[2]) then return {'stale'} end
if ARGV[5] ~= '' then redis.call('SET', ARGV[5], ARGV[7], 'EX', ARGV[6]) end
finish(record, ARGV[3], ARGV[4], unpack(ARGV, 8))
return {'ok'}
