-- Nobody can refer to a thing from now on, unless somebody does already, or another removal of it goes on.
-- KEYS[1]: 'refs:' ARGV: thing, owner, milliseconds, how many of its runs to name
local mark = KEYS[1] .. 'removing:' .. ARGV[1]
local owner = redis.call('GET', mark)
if owner and owner ~= ARGV[2] then return {'removing'} end
local runs = redis.call('SRANDMEMBER', KEYS[1] .. ARGV[1], ARGV[4])
if #runs == 0 then redis.call('SET', mark, ARGV[2], 'PX', ARGV[3]) end
table.insert(runs, 1, 'ok')
return runs
