-- Words that every script below shares. A script runs alone, so what it does is one atomic step.
-- KEYS[1] is the record, ARGV[1] its run id; the other keys follow from the id (one Redis, no cluster).
local record, id = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Lua writes 1.7e+12 for large numbers; Redis wants digits.
local function digits(number) return string.format('%.0f', number) end
local function json(text) if text then return cjson.encode(text) end return 'null' end
local function get(field) return redis.call('HGET', record, field) end
local function set(...) redis.call('HSET', record, 'updated_at_ms', digits(now), ...) end
local function clear(...) redis.call('HDEL', record, ...) end
local function number(field) return tonumber(get(field) or '0') end

local function answer(code)
  local reply = {code}
  for _, item in ipairs(redis.call('HGETALL', record)) do reply[#reply + 1] = item end
  return reply
end

-- Appends one event to the run's stream, refers to it in the feed of all runs, and announces it. Numbers have no gaps:
-- they are taken here.
local function tell(kind, body)
  local seq = redis.call('HINCRBY', record, 'last_event_seq', 1)
  redis.call('XADD', 'runs:' .. id .. ':stream', seq .. '-0', 'at_ms', digits(now), 'type', kind, 'event', body)
  redis.call('XADD', 'trainer:feed', 'MAXLEN', '~', 100000, '*', 'run_id', id, 'seq', seq)
  local note = '{"run_id":' .. json(id) .. ',"seq":' .. seq .. ',"type":' .. json(kind)
    .. ',"user_id":' .. json(get('user_id')) .. '}'
  redis.call('PUBLISH', 'trainer:events', note)
  redis.call('PUBLISH', 'runs:' .. id .. ':events', note)
end

local function tell_of_run(kind, facts)
  tell(kind, '{"type":' .. json(kind) .. ',"job_id":' .. json(id) .. ',"user_id":' .. json(get('user_id')) .. facts .. '}')
end

-- The owner's events. `position` says how many of this lease's events came before the first of them, so those that an
-- earlier call brought, whose reply was lost, are not told again: however many calls that were. After a rebuild nobody
-- but the owner knows how many there were.
local function tell_owners(position, first)
  local told = tonumber(get('told') or position)
  for at = first, #ARGV, 2 do
    if position + (at - first) / 2 >= told then
      tell(ARGV[at], ARGV[at + 1])
      told = told + 1
    end
  end
  set('told', digits(told))
end

local function move(status)
  local kind, old = get('kind'), get('status')
  if old and old ~= status then redis.call('ZREM', 'runs:index:' .. kind .. ':status:' .. old, id) end
  redis.call('ZADD', 'runs:index:' .. kind .. ':status:' .. status, 0, id)
  redis.call('SET', 'runs:status:' .. id, status)
  set('status', status)
end

local function say(message)
  redis.call('SET', 'runs:msg:' .. id, message)
  set('message', message)
end

local function give_sign(at_ms)
  set('heartbeat_at_ms', digits(at_ms))
  redis.call('SET', 'runs:hb:' .. id, string.format('%.3f', at_ms / 1000))
end

local function hold(lease_ms)
  set('lease_until_ms', digits(now + lease_ms))
  redis.call('ZADD', 'runs:leases', digits(now + lease_ms), id)
  give_sign(now)
end

local function let_go()
  clear('owner', 'host')
  set('lease_until_ms', '0')
  redis.call('ZREM', 'runs:leases', id)
end

local artifact_key = 'runs:artifact:' .. id .. ':file_id'

local function is_active() local at = get('status') return at == 'running' or at == 'cancelling' end

local function has_ended() local at = get('status') return at == 'completed' or at == 'failed' or at == 'cancelled' end

-- Whether the caller still owns the run. An old epoch or another owner may write nothing.
local function is_owner(epoch, owner)
  return is_active() and get('owner') == owner and get('epoch') == epoch
end

-- What a caller hears who is not the owner. A record that is not there was lost with the store, not to another owner.
local function refusal()
  if redis.call('EXISTS', record) == 0 then return {'unknown'} end
  return {'lost'}
end

-- The flag counts whoever set it: the API through the record, or a person by hand.
local function cancel_wanted()
  if get('cancel_requested') == '1' then return true end
  local flag = redis.call('GET', 'runs:' .. id .. ':cancelled')
  return flag and flag ~= '' and flag ~= '0' and string.lower(flag) ~= 'false'
end

local function pause_wanted() return get('pause_requested') == '1' end

-- What others ask of the owner, as the owner's scripts answer it.
local function flags()
  return {'ok', cancel_wanted() and '1' or '0', pause_wanted() and '1' or '0'}
end

-- How far the run has come, by phase and step.
local function mark()
  local ranks = {waiting = 0, starting = 1, validating = 2, tokenizing = 3, training = 4, calibrating = 5, evaluating = 6, exporting = 7, finalizing = 8}
  return (ranks[get('phase')] or 0) * 1e10 + number('step')
end

local function want_cancel()
  redis.call('SET', 'runs:' .. id .. ':cancelled', '1')
  set('cancel_requested', '1')
end

local function end_attempt(problem)
  local attempt = 'attempt.' .. get('attempt') .. '.'
  set(attempt .. 'ended_at_ms', digits(now))
  if problem then set(attempt .. 'problem', problem) end
end

local function finish(status)
  move(status)
  set('phase', 'done', 'finished_at_ms', digits(now), 'not_before_ms', '0', 'pause_requested', '0')
  let_go()
  redis.call('ZREM', 'runs:waiting', id)
  redis.call('SADD', 'runs:unaccounted', id) -- until somebody says that the end is on disk
end

local function finish_cancelled()
  want_cancel()
  say('Cancelled on request.')
  clear('failure_class', 'problem')
  set('reason', 'user_cancelled')
  finish('cancelled')
  tell_of_run('trainer.job.cancelled.v1', ',"step":' .. digits(number('step')))
end

-- Waiting again, under a new epoch: orders given out before are void.
local function queue(message, delay_ms)
  let_go()
  say(message)
  redis.call('HINCRBY', record, 'epoch', 1)
  set('phase', 'waiting', 'not_before_ms', digits(now + delay_ms))
  clear('reason')
  move('queued')
  redis.call('ZADD', 'runs:waiting', digits(now + delay_ms), id)
end

local function tell_queued()
  tell_of_run('trainer.job.queued.v1', ',"kind":' .. json(get('kind')) .. ',"family":' .. json(get('family'))
    .. ',"queue":' .. json(get('queue')))
end

-- Standing still: without an owner, out of the queue, under the epoch it had.
local function stand_still(message, reason, delay_ms)
  let_go()
  say(message)
  set('phase', 'waiting', 'not_before_ms', digits(now + delay_ms))
  clear('reason')
  if reason then set('reason', reason) end
  move('paused')
  redis.call('ZREM', 'runs:waiting', id)
  tell_of_run('trainer.job.paused.v1', ',"reason":' .. json(reason))
end

local function stand_still_as_asked() stand_still('Paused on request.', nil, 0) end
