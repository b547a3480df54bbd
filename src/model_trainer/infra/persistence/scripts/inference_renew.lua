-- Holds requests for longer. KEYS[1]: the leases. ARGV: owner, lease in ms, key, try, key, try, ...
for at = 3, #ARGV, 2 do
  if is_at(ARGV[at], 'running', ARGV[1], ARGV[at + 1]) then hold(ARGV[at], tonumber(ARGV[2])) end
end
return {'ok'}
