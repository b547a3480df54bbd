-- Back to the queue, whatever was asked for or went wrong before.
-- ARGV: id, token of this call, message, step or '', idempotency key or '', its seconds to live, body digest
local at = get('status')
if not at then return {'unknown'} end
if get('token') == ARGV[2] and at == 'queued' then return answer('queued') end -- the reply was lost
if ARGV[5] ~= '' and redis.call('EXISTS', ARGV[5]) == 1 then
  if redis.call('HGET', ARGV[5], 'body_sha256') ~= ARGV[7] then return {'reused'} end
  return {'known', redis.call('HGET', ARGV[5], 'run_id')}
end
if at ~= 'paused' and at ~= 'failed' and at ~= 'cancelled' then return answer('refused') end
redis.call('DEL', 'runs:' .. id .. ':cancelled')
redis.call('SREM', 'runs:unaccounted', id)
clear('failure_class', 'problem', 'finished_at_ms', 'resume_order', 'crashes', 'crash_mark', 'retry_mark')
set('token', ARGV[2], 'cancel_requested', '0', 'pause_requested', '0', 'retries', '0')
queue(ARGV[3], 0)
if ARGV[4] ~= '' then set('resume_order', '{"epoch":' .. get('epoch') .. ',"step":' .. ARGV[4] .. '}') end
if ARGV[5] ~= '' then
  redis.call('HSET', ARGV[5], 'run_id', id, 'body_sha256', ARGV[7])
  redis.call('EXPIRE', ARGV[5], ARGV[6])
end
tell_queued()
return answer('queued')
