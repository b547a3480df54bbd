-- Back to the queue by itself, with its tries as they are, when its delay is over. ARGV: id, token of this call, message
local at = get('status')
if get('token') == ARGV[2] and at == 'queued' then return answer('queued') end -- the reply was lost
if at ~= 'paused' or get('reason') ~= 'disk_full' or number('not_before_ms') > now then return {'nothing'} end
if cancel_wanted() or pause_wanted() then return {'nothing'} end
set('token', ARGV[2])
queue(ARGV[3], 0)
tell_queued()
return answer('queued')
