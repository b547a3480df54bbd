-- A removal has ended; that of another owner goes on. KEYS[1]: 'refs:' ARGV: thing, owner
local mark = KEYS[1] .. 'removing:' .. ARGV[1]
if redis.call('GET', mark) == ARGV[2] then redis.call('DEL', mark) end
return {'ok'}
