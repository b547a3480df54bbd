-- Sets the flag. ARGV: id
local at = get('status')
if not at then return {'unknown'} end
if at == 'completed' or at == 'failed' then return {'ended', at} end
if at == 'queued' or at == 'paused' then
  finish_cancelled()
elseif at ~= 'cancelled' then
  want_cancel()
  move('cancelling')
end
return answer(at)
