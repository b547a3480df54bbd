-- Where the run's artifact is stored. ARGV: id, epoch of the owner or '' for a run that has ended, file_id, the file_id that it
-- takes the place of or '' for any
if redis.call('EXISTS', record) == 0 then return {'unknown'} end
if ARGV[2] == '' then
  if not has_ended() then return {'unfinished'} end
elseif not (is_active() and get('epoch') == ARGV[2]) then
  return {'lost'}
end
local before = get('artifact_file_id')
if ARGV[4] ~= '' and before ~= ARGV[4] and before ~= ARGV[3] then return {'moved'} end
set('artifact_file_id', ARGV[3])
redis.call('SET', artifact_key, ARGV[3])
return answer('ok')
