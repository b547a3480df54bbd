-- Who needs things. None of them may be on its way out. KEYS[1]: 'refs:' ARGV: run id, things...
for at = 2, #ARGV do
  if redis.call('EXISTS', KEYS[1] .. 'removing:' .. ARGV[at]) == 1 then return {'removing', ARGV[at]} end
end
for at = 2, #ARGV do redis.call('SADD', KEYS[1] .. ARGV[at], ARGV[1]) end
return {'ok'}
