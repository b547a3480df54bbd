-- Requests whose owner is silent. KEYS[1]: the leases. ARGV: most deaths, problem, seconds that an end is kept
local touched = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', leases, 0, digits(now))) do
  if redis.call('HGET', key, 'status') ~= 'running' then -- expired, or evicted
    redis.call('ZREM', leases, key)
  else
    local deaths = tonumber(redis.call('HGET', key, 'deaths')) + 1
    if deaths >= tonumber(ARGV[1]) then
      finish(key, 'failed', ARGV[3], 'problem', ARGV[2], 'deaths', digits(deaths))
    else
      put_back(key, 'lost')
    end
    touched[#touched + 1] = string.match(key, '[^:]+$')
  end
end
return touched
