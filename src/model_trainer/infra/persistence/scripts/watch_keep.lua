-- Writes down what a follower of the feed needs to go on. Done twice it is the same as once. KEYS[1]: 'discord:'
-- ARGV: holder, position or '', channel or '', number of notes, run id, note, ..., run ids that are gone...
if redis.call('GET', KEYS[1] .. 'holder') ~= ARGV[1] then return {'lost'} end
local gone = 5 + 2 * ARGV[4]
for at = 5, gone - 1, 2 do redis.call('HSET', KEYS[1] .. 'watching', ARGV[at], ARGV[at + 1]) end
for at = gone, #ARGV do redis.call('HDEL', KEYS[1] .. 'watching', ARGV[at]) end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1] .. 'position', ARGV[2]) end
if ARGV[3] ~= '' then redis.call('SET', KEYS[1] .. 'channel', ARGV[3]) end
return {'ok'}
