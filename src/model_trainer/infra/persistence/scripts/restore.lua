-- A run that the store has lost, whole. What it still has of it gives way. ARGV: id, status, lease in ms,
-- number of indexes, indexes..., number of fields, field, value, ..., seq, at_ms, type, event, ...
if redis.call('EXISTS', record) == 1 then return {'known'} end
local stream, fields = 'runs:' .. id .. ':stream', 5 + ARGV[4]
local events = fields + 1 + 2 * ARGV[fields]
redis.call('DEL', stream)
redis.call('ZREM', 'runs:leases', id)
redis.call('ZREM', 'runs:waiting', id)
for at = fields + 1, events - 1, 2 do redis.call('HSET', record, ARGV[at], ARGV[at + 1]) end
for at = events, #ARGV, 4 do
  redis.call('XADD', stream, ARGV[at] .. '-0', 'at_ms', ARGV[at + 1], 'type', ARGV[at + 2], 'event', ARGV[at + 3])
end
for at = 5, fields - 1 do redis.call('ZADD', ARGV[at], 0, id) end
for _, other in ipairs({'queued', 'running', 'paused', 'cancelling', 'completed', 'failed', 'cancelled'}) do
  redis.call('ZREM', 'runs:index:' .. get('kind') .. ':status:' .. other, id)
end
local updated_at_ms = get('updated_at_ms')
move(ARGV[2])
say(get('message'))
if get('heartbeat_at_ms') then give_sign(number('heartbeat_at_ms')) end
if get('cancel_requested') == '1' then want_cancel() end
if get('artifact_file_id') then redis.call('SET', artifact_key, get('artifact_file_id')) end
if is_active() then
  set('lease_until_ms', digits(now + ARGV[3]))
  redis.call('ZADD', 'runs:leases', digits(now + ARGV[3]), id)
elseif ARGV[2] == 'queued' then
  redis.call('ZADD', 'runs:waiting', digits(now), id)
  if get('last_event_seq') == '0' then tell_queued() end
end
redis.call('HSET', record, 'updated_at_ms', updated_at_ms)
return {'restored'}
