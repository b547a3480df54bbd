-- Pieces of an answer. KEYS[1]: the record. ARGV: owner, try, how many pieces were told before these or '', pieces...
-- Those that an earlier call brought, whose reply was lost, are not told again.
local record, pieces = KEYS[1], KEYS[1] .. ':pieces'
if not is_at(record, 'running', ARGV[1], ARGV[2]) then return {'stale'} end
local told = redis.call('LLEN', pieces)
local position = tonumber(ARGV[3]) or told
for at = 4, #ARGV do
  if position + at - 4 >= told then redis.call('RPUSH', pieces, ARGV[at]) end
end
keep(record, pieces)
announce(record)
return {'ok', digits(redis.call('LLEN', pieces))}
