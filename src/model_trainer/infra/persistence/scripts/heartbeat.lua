-- Renews the lease, writes what the owner reports, appends its events.
-- ARGV: id, epoch, owner, lease in ms, token of this call, token of an earlier call whose reply was lost, how many of
-- the events that one carried, status asked for or '', reason or '', number of fields, field, value, ..., type, event, ...
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
local stored, events = get('token'), 11 + 2 * ARGV[10]
if stored == ARGV[5] then
  events = #ARGV + 1
elseif stored == ARGV[6] then
  events = events + 2 * ARGV[7]
end
hold(tonumber(ARGV[4]))
set('token', ARGV[5])
for at = 11, 10 + 2 * ARGV[10], 2 do
  if ARGV[at] == 'message' then say(ARGV[at + 1])
  elseif ARGV[at] == 'quiet_ms' then give_sign(now - ARGV[at + 1])
  else set(ARGV[at], ARGV[at + 1]) end
end
local cancel = cancel_wanted()
if cancel then
  want_cancel()
  move('cancelling')
elseif ARGV[8] ~= '' then
  move(ARGV[8])
  clear('reason')
  if ARGV[9] ~= '' then set('reason', ARGV[9]) end
end
for at = events, #ARGV, 2 do tell(ARGV[at], ARGV[at + 1]) end
return {'ok', cancel and '1' or '0'}
