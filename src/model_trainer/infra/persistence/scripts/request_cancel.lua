-- Sets the flag. ARGV: id
local at = get('status')
if not at then return {'unknown'} end
if at == 'completed' or at == 'failed' then return {'ended', at} end
if at == 'queued' then
  finish_cancelled()
  leave_account()
elseif at ~= 'cancelled' then
  want_cancel()
  move('cancelling')
end
return answer(at)
