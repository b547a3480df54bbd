-- Holds the watch list for some time from now on. KEYS[1]: 'discord:' ARGV: holder, for how many ms
local holder = redis.call('GET', KEYS[1] .. 'holder')
if holder and holder ~= ARGV[1] then return {'held'} end
redis.call('SET', KEYS[1] .. 'holder', ARGV[1], 'PX', ARGV[2])
return {'ok'}
