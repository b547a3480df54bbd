-- Renews the lease, writes what the owner reports, appends its events.
-- ARGV: id, epoch, owner, lease in ms, position of the first event, status asked for or '', reason or '',
-- number of fields, field, value, ..., type, event, ...
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
local events = 9 + 2 * ARGV[8]
hold(tonumber(ARGV[4]))
for at = 9, events - 1, 2 do
  if ARGV[at] == 'message' then say(ARGV[at + 1])
  elseif ARGV[at] == 'quiet_ms' then give_sign(now - ARGV[at + 1])
  else set(ARGV[at], ARGV[at + 1]) end
end
if number('retries') > 0 and mark() > number('retry_mark') then set('retries', '0') end
local cancel = cancel_wanted()
if cancel then
  want_cancel()
  move('cancelling')
elseif ARGV[6] ~= '' then
  move(ARGV[6])
  clear('reason')
  if ARGV[7] ~= '' then set('reason', ARGV[7]) end
end
tell_owners(tonumber(ARGV[5]), events)
return {'ok', cancel and '1' or '0'}
