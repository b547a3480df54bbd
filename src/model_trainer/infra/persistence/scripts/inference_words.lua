-- Words that the scripts of inference share. A script runs alone, so what it does is one atomic step.
-- Requests are named by their record's key, <kind>:<run id>:<request id>; the other keys follow from it.
local line, leases, bell = 'inference:line', 'inference:leases', 'inference:bell'
local unanswered_seconds = 86400 -- a request is kept so long without an answer
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Lua writes 1.7e+12 for large numbers; Redis wants digits.
local function digits(number) return string.format('%.0f', number) end
local function keep(...) for _, key in ipairs({...}) do redis.call('EXPIRE', key, unanswered_seconds) end end

-- Whether the caller still works on a request. `tries` says which try is the caller's: an owner may have had it before.
local function is_at(key, status, owner, tries)
  local at = redis.call('HMGET', key, 'status', 'owner', 'tries')
  return at[1] == status and at[2] == owner and at[3] == tries
end

local function announce(key)
  redis.call('PUBLISH', 'inference:events', '{"run_id":"' .. string.match(key, '[^:]+$') .. '"}')
end

-- One stroke of the bell is enough: who takes something and leaves something lets it ring for the next.
local function ring()
  if redis.call('ZCARD', line) == 0 then
    redis.call('DEL', bell)
  elseif redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, '1')
    keep(bell)
  end
end

local function hold(key, lease_ms)
  redis.call('ZADD', leases, digits(now + lease_ms), key)
  keep(key, leases)
end

-- In line, at the place that its ticket gives it: one that comes back stands in front of all that came later.
local function stand_in_line(key)
  redis.call('ZADD', line, redis.call('HGET', key, 'ticket'), key)
  keep(key, line)
  ring()
end

-- `why`: stopped, apart or lost, see GivenBack.
local function put_back(key, why)
  redis.call('ZREM', leases, key)
  redis.call('HDEL', key, 'owner', 'started_at_ms')
  redis.call('HSET', key, 'status', 'queued')
  if why ~= 'stopped' then redis.call('HSET', key, 'alone', '1') end
  if why == 'lost' then redis.call('HINCRBY', key, 'deaths', 1) end
  redis.call('DEL', key .. ':pieces')
  stand_in_line(key)
end

local function finish(key, status, kept_seconds, ...)
  redis.call('ZREM', leases, key)
  redis.call('HSET', key, 'status', status, 'finished_at_ms', digits(now), ...)
  redis.call('EXPIRE', key, kept_seconds)
  redis.call('EXPIRE', key .. ':pieces', kept_seconds)
  local pending = redis.call('HGET', key, 'pending')
  if pending and redis.call('GET', pending) == key then redis.call('DEL', pending) end
  announce(key)
end

local function answer(code)
  local reply = {code}
  for _, item in ipairs(redis.call('HGETALL', KEYS[1])) do reply[#reply + 1] = item end
  return reply
end

