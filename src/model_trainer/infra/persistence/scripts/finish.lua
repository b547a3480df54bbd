-- The owner's own end of the run. ARGV: id, epoch, owner, token, token and number of events as in heartbeat.lua,
-- status, message, problem or '', number of fields, field, value, ..., type, event, ...
if get('token') == ARGV[4] and get('status') == ARGV[7] then return answer('ok') end -- the reply was lost
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
local events = 11 + 2 * ARGV[10]
if get('token') == ARGV[5] then events = events + 2 * ARGV[6] end
clear('reason', 'failure_class', 'problem')
for at = 11, 10 + 2 * ARGV[10], 2 do set(ARGV[at], ARGV[at + 1]) end
set('token', ARGV[4])
say(ARGV[8])
end_attempt(ARGV[9] ~= '' and ARGV[9])
finish(ARGV[7])
for at = events, #ARGV, 2 do tell(ARGV[at], ARGV[at + 1]) end
return answer('ok')
