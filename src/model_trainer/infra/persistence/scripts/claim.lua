-- The lease on a queued run. ARGV: id, epoch, owner, host or '', lease in ms, token of this call
local epoch, owner, token = ARGV[2], ARGV[3], ARGV[6]
if get('token') == token and get('owner') == owner then return {'claimed', get('epoch')} end -- the reply was lost
if get('status') ~= 'queued' or get('epoch') ~= epoch then return {'nothing'} end
if cancel_wanted() then
  finish_cancelled()
  return {'cancelled'}
end
if pause_wanted() then
  stand_still_as_asked()
  return {'paused'}
end
if number('not_before_ms') > now then return {'nothing'} end

epoch = digits(redis.call('HINCRBY', record, 'epoch', 1))
local attempt = digits(redis.call('HINCRBY', record, 'attempt', 1))
local named = 'attempt.' .. attempt .. '.'
clear('reason', 'failure_class', 'problem')
set('owner', owner, 'phase', 'starting', 'token', token, 'told', '0',
  named .. 'epoch', epoch, named .. 'owner', owner, named .. 'started_at_ms', digits(now))
if ARGV[4] ~= '' then set('host', ARGV[4]) end
redis.call('HSETNX', record, 'started_at_ms', digits(now))
redis.call('ZREM', 'runs:waiting', id)
hold(tonumber(ARGV[5]))
say('A worker started.')
move('running')
tell_of_run('trainer.job.started.v1', ',"epoch":' .. epoch .. ',"attempt":' .. attempt .. ',"worker":' .. json(owner))
return {'claimed', epoch}
