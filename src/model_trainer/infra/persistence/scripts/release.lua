-- Back to the queue by the owner's own wish.
-- ARGV: id, epoch, owner, token, position of the first event, message, delay in ms, problem or '', type, event, ...
if get('token') == ARGV[4] and not is_active() then return answer(get('status')) end -- the reply was lost
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
set('token', ARGV[4])
tell_owners(tonumber(ARGV[5]), 9)
end_attempt(ARGV[8] ~= '' and ARGV[8])
if cancel_wanted() then
  finish_cancelled()
  return answer('cancelled')
end
redis.call('HINCRBY', record, 'retries', 1)
set('retry_mark', digits(math.max(mark(), number('retry_mark'))))
queue(ARGV[6], tonumber(ARGV[7]))
tell_queued()
return answer('queued')
