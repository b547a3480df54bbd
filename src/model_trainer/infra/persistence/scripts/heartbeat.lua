-- Renews the lease, writes what the owner reports, appends its events.
-- ARGV: id, epoch, owner, lease in ms, position of the first event, number of fields, field, value, ..., type, event, ...
if not is_owner(ARGV[2], ARGV[3]) then return refusal() end
local events = 7 + 2 * ARGV[6]
hold(tonumber(ARGV[4]))
for at = 7, events - 1, 2 do
  if ARGV[at] == 'message' then say(ARGV[at + 1])
  elseif ARGV[at] == 'quiet_ms' then give_sign(now - ARGV[at + 1])
  else set(ARGV[at], ARGV[at + 1]) end
end
if number('retries') > 0 and mark() > number('retry_mark') then set('retries', '0') end
if cancel_wanted() then
  want_cancel()
  move('cancelling')
end
tell_owners(tonumber(ARGV[5]), events)
return flags()
