-- Gives the watch list up, if it is held by the same. KEYS[1]: 'discord:' ARGV: holder
if redis.call('GET', KEYS[1] .. 'holder') == ARGV[1] then redis.call('DEL', KEYS[1] .. 'holder') end
return {'ok'}
