-- One run whose lease may have run out or whose holder is lost, or that waits and was cancelled by hand.
-- ARGV: id, crashes that end it, problem, message of the rescue, of the end, epoch of a lost holder or ''
local at = get('status')
local is_due = at == 'queued' and number('not_before_ms') <= now
if (is_due or at == 'paused') and cancel_wanted() then
  finish_cancelled()
  return answer('cancelled')
end
if is_due and pause_wanted() then
  stand_still_as_asked()
  return answer('paused')
end
if not is_active() then return {'nothing'} end
if number('lease_until_ms') > now and get('epoch') ~= ARGV[6] then return {'nothing'} end
end_attempt(ARGV[3])
if cancel_wanted() then
  finish_cancelled()
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
  tell_of_run('trainer.job.failed.v1', ',"error_code":"WORKER_LOST","message":' .. json(ARGV[5])
    .. ',"reason":"worker_lost","failure_class":"FATAL"')
  return answer('failed')
end
if pause_wanted() then
  stand_still_as_asked()
  return answer('paused')
end
queue(ARGV[4], 0)
tell_queued()
return answer('queued')
