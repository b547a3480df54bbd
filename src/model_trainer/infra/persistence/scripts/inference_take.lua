-- The oldest request in line, and others with its batch key. KEYS[1]: the line. ARGV: owner, token of this call, how many at
-- most, lease in ms, how many are looked at from the head of the line: who stands further behind is taken another time. The
-- answer tells of each: its key, the number of its fields and values, field, value, ...
local owner, token, most, lease_ms, seen = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local call = 'inference:call:' .. owner -- the token of its latest call that took something, and what it took
local taken, reply = {}, {}

local function take_some()
  local batch_key, num_gone = nil, 0
  for _, key in ipairs(redis.call('ZRANGE', line, 0, seen - 1)) do
    local at = redis.call('HMGET', key, 'status', 'batch_key', 'alone')
    if at[1] ~= 'queued' then -- expired, or evicted
      redis.call('ZREM', line, key)
      num_gone = num_gone + 1
    elseif not batch_key or (at[2] == batch_key and at[3] ~= '1') then
      batch_key = at[2]
      taken[#taken + 1] = key
      if at[3] == '1' or #taken == most then break end
    end
  end
  return num_gone
end

if redis.call('LINDEX', call, 0) == token then -- the reply was lost
  for _, key in ipairs(redis.call('LRANGE', call, 1, -1)) do
    local at = redis.call('HMGET', key, 'status', 'owner')
    if at[1] == 'running' and at[2] == owner then taken[#taken + 1] = key end
  end
else
  repeat local num_gone = take_some() until #taken > 0 or num_gone == 0
  if #taken > 0 then
    redis.call('DEL', call)
    redis.call('RPUSH', call, token, unpack(taken))
    redis.call('PEXPIRE', call, lease_ms)
  end
  for _, key in ipairs(taken) do
    redis.call('ZREM', line, key)
    redis.call('HINCRBY', key, 'tries', 1)
    redis.call('HSET', key, 'status', 'running', 'owner', owner, 'started_at_ms', digits(now))
  end
  ring()
end

for _, key in ipairs(taken) do
  hold(key, lease_ms)
  local fields = redis.call('HGETALL', key)
  reply[#reply + 1] = key
  reply[#reply + 1] = digits(#fields)
  for _, item in ipairs(fields) do reply[#reply + 1] = item end
end
return reply
