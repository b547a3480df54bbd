-- Removes a run that has ended, with all that lists it. ARGV: id, indexes...
if redis.call('EXISTS', record) == 0 then return {'unknown'} end
if not has_ended() then return {'unfinished'} end
for at = 2, #ARGV do redis.call('ZREM', ARGV[at], id) end
redis.call('ZREM', 'runs:index:' .. get('kind') .. ':status:' .. get('status'), id)
redis.call('SREM', 'runs:unaccounted', id)
redis.call('DEL', record, 'runs:' .. id .. ':stream', 'runs:' .. id .. ':cancelled', 'runs:status:' .. id,
  'runs:msg:' .. id, 'runs:hb:' .. id, artifact_key)
return {'forgotten'}
