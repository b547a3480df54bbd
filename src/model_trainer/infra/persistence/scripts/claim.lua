-- The lease on a queued run. ARGV: id, epoch, owner, lease in ms, token of this call
local epoch, owner, token = ARGV[2], ARGV[3], ARGV[5]
if get('token') == token and get('owner') == owner then return {'claimed', get('epoch')} end -- the reply was lost
if get('status') ~= 'queued' or get('epoch') ~= epoch then return {'nothing'} end
if cancel_wanted() then
  finish_cancelled()
  leave_account()
  return {'cancelled'}
end
if number('not_before_ms') > now then return {'nothing'} end

epoch = digits(redis.call('HINCRBY', record, 'epoch', 1))
local attempt = digits(redis.call('HINCRBY', record, 'attempt', 1))
local named = 'attempt.' .. attempt .. '.'
clear('reason', 'failure_class', 'problem')
set('owner', owner, 'phase', 'starting', 'token', token, 'told', '0',
  named .. 'epoch', epoch, named .. 'owner', owner, named .. 'started_at_ms', digits(now))
redis.call('HSETNX', record, 'started_at_ms', digits(now))
redis.call('ZREM', 'runs:waiting', id)
hold(tonumber(ARGV[4]))
say('A worker started.')
move('running')
tell_of_run('trainer.job.started.v1', ',"epoch":' .. epoch .. ',"attempt":' .. attempt .. ',"worker":' .. json(owner))
return {'claimed', epoch}
