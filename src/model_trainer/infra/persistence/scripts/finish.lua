-- The owner's own end of the run. ARGV: id, epoch, owner, token, position of the first event, status, message,
-- problem or '', number of fields, field, value, ..., type, event, ...
if get('token') == ARGV[4] and get('status') == ARGV[6] then return answer('ok') end -- the reply was lost
if not is_owner(ARGV[2], ARGV[3]) then return refusal() end
local events = 10 + 2 * ARGV[9]
clear('reason', 'failure_class', 'problem')
for at = 10, events - 1, 2 do set(ARGV[at], ARGV[at + 1]) end
set('token', ARGV[4])
say(ARGV[7])
end_attempt(ARGV[8] ~= '' and ARGV[8])
finish(ARGV[6])
tell_owners(tonumber(ARGV[5]), events)
return answer('ok')
