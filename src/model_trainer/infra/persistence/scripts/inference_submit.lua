-- A new request. KEYS[1]: its record. ARGV: idempotency key or '', its seconds to live, body digest,
-- key of its conversation or '', '1' when this must be there, how many may wait, batch key, request
local record, once, conversation = KEYS[1], ARGV[1], ARGV[4]
local pending = conversation .. ':pending' -- the mark that a message of it is unanswered
if redis.call('EXISTS', record) == 1 then return answer('ok') end -- the reply was lost
if once ~= '' and redis.call('EXISTS', once) == 1 then
  if redis.call('HGET', once, 'body_sha256') ~= ARGV[3] then return {'reused'} end
  return {'replayed', redis.call('HGET', once, 'request')}
end
if conversation ~= '' then
  local earlier = redis.call('GET', pending)
  local at = earlier and redis.call('HGET', earlier, 'status')
  if at == 'queued' or at == 'running' then return {'busy', earlier} end
  if ARGV[5] == '1' and redis.call('EXISTS', conversation) == 0 then return {'gone'} end
end
if redis.call('ZCARD', line) >= tonumber(ARGV[6]) then return {'full'} end

local ticket = redis.call('INCR', 'inference:tickets')
keep('inference:tickets')
redis.call('HSET', record, 'status', 'queued', 'tries', '0', 'deaths', '0', 'created_at_ms', digits(now), 'ticket', ticket,
  'batch_key', ARGV[7], 'request', ARGV[8])
if conversation ~= '' then
  redis.call('HSET', record, 'pending', pending)
  redis.call('SET', pending, record, 'EX', unanswered_seconds)
end
if once ~= '' then
  redis.call('HSET', once, 'request', record, 'body_sha256', ARGV[3])
  redis.call('EXPIRE', once, ARGV[2])
end
stand_in_line(record)
return answer('ok')
