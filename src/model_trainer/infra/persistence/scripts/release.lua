-- Given up by the owner's own wish: back to the queue, or to stand still.
-- ARGV: id, epoch, owner, token, position of the first event, status, message, reason or '', delay in ms, '1' for a
-- retry, problem or '', type, event, ...
if get('token') == ARGV[4] and not is_active() then return answer(get('status')) end -- the reply was lost
if not is_owner(ARGV[2], ARGV[3]) then return refusal() end
local message, delay_ms = ARGV[7], tonumber(ARGV[9])
set('token', ARGV[4])
tell_owners(tonumber(ARGV[5]), 12)
end_attempt(ARGV[11] ~= '' and ARGV[11])
if cancel_wanted() then
  finish_cancelled()
  return answer('cancelled')
end
if ARGV[10] == '1' then
  redis.call('HINCRBY', record, 'retries', 1)
  set('retry_mark', digits(math.max(mark(), number('retry_mark'))))
end
if ARGV[6] == 'paused' then
  stand_still(message, ARGV[8] ~= '' and ARGV[8], delay_ms)
elseif pause_wanted() then
  stand_still_as_asked()
else
  queue(message, delay_ms)
  tell_queued()
end
return answer(get('status'))
