-- Back to the queue by the owner's own wish. ARGV: id, epoch, owner, token, message, delay in ms
if get('token') == ARGV[4] and not is_active() then return answer(get('status')) end -- the reply was lost
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
set('token', ARGV[4])
end_attempt(false)
if cancel_wanted() then
  finish_cancelled()
  return answer('cancelled')
end
queue(ARGV[5], tonumber(ARGV[6]))
tell_queued()
return answer('queued')
