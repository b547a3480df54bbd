-- A new record, its indexes, its idempotency key and its first event. Runs in the transaction that also queues it.
-- ARGV: id, idempotency key or '', its seconds to live, body digest, number of indexes, indexes..., field, value, ...
for at = 6, 5 + ARGV[5] do redis.call('ZADD', ARGV[at], 0, id) end
for at = 6 + ARGV[5], #ARGV, 2 do set(ARGV[at], ARGV[at + 1]) end
set('created_at_ms', digits(now), 'not_before_ms', digits(now))
move('queued')
say(get('message'))
redis.call('ZADD', 'runs:waiting', digits(now), id)
if ARGV[2] ~= '' then
  redis.call('HSET', ARGV[2], 'run_id', id, 'body_sha256', ARGV[4])
  redis.call('EXPIRE', ARGV[2], ARGV[3])
end
tell_queued()
return answer('ok')
