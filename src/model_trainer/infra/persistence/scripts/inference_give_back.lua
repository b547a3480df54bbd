-- Requests that their owner cannot answer now. KEYS[1]: the line. ARGV: owner, why, key, try, ...
for at = 3, #ARGV, 2 do
  if is_at(ARGV[at], 'running', ARGV[1], ARGV[at + 1]) then put_back(ARGV[at], ARGV[2]) end
end
return {'ok'}
