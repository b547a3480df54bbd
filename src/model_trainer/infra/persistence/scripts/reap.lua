-- One run whose lease may have run out, or that waits and was cancelled by hand. ARGV: id, crashes that end it, problem, message of the rescue, of the end
if get('status') == 'queued' and cancel_wanted() then
  finish_cancelled()
  leave_account()
  return answer('cancelled')
end
if not is_active() or number('lease_until_ms') > now then return {'nothing'} end
end_attempt(ARGV[3])
if cancel_wanted() then
  finish_cancelled()
  leave_account()
  return answer('cancelled')
end
-- Progress is having come further than at any crash before.
local crashes, come = 1, mark()
if get('crash_mark') and come <= number('crash_mark') then crashes = number('crashes') + 1 end
set('crashes', digits(crashes), 'crash_mark', digits(math.max(come, number('crash_mark'))))
if crashes >= tonumber(ARGV[2]) then
  set('failure_class', 'FATAL', 'reason', 'worker_lost', 'problem', ARGV[3])
  say(ARGV[5])
  finish('failed')
  leave_account()
  tell_of_run('trainer.job.failed.v1', ',"error_code":"WORKER_LOST","message":' .. json(ARGV[5])
    .. ',"reason":"worker_lost","failure_class":"FATAL"')
  return answer('failed')
end
queue(ARGV[4], 0)
tell_queued()
return answer('queued')
