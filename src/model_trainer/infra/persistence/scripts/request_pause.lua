-- Sets the flag. ARGV: id, message while it goes on to its next step
local at = get('status')
if not at then return {'unknown'} end
if get('kind') ~= 'train' or (at ~= 'queued' and at ~= 'running' and at ~= 'paused') then return answer('refused') end
if pause_wanted() then return answer(at) end
if at == 'queued' and cancel_wanted() then -- by hand
  finish_cancelled()
  return answer('refused')
end
set('pause_requested', '1')
if at == 'queued' then
  stand_still_as_asked()
elseif at == 'running' then
  say(ARGV[2])
end
return answer(at)
