#!lua name=highwater
--[[
The atomic half of a Redis ranking: what one engine call changes, it changes in one function call, or not at all.

It promises: a batch counts only if the epoch and the token of each of its partitions are the stored ones; the window's start (the
floor) only moves forward, by this server's clock; readers of the public key see whole rankings only; one call touches at most 500
entries and drains at most 500 expired ones. It does not decide what a record means or when an epoch is needed: the engine does.

Keys. All share a slot and all are declared in every call, in this order; nothing else is touched. K is the key that users read.

  1        K                     sorted set: member -> total / 10^scale. The only key with a TTL: one window after the last call
  2        {K}:state             hash: served, building -> the letter of an epoch's keys
  3 or 9   {K}:a or :b           hash, the epoch itself:
             id, run_id, fingerprint, topic      what it is identified by; opaque
             boundary, ended                     opaque, empty without one; '1' when the end of its snapshot run was read
             window, bucket, floor               milliseconds; floor is a Unix time
             scale                               decimal digits of an amount
             next:<p>, mark:<p>, target:<p>      progress of partition p; the offset from which the epoch may be served
             partitions                          those with a target, separated by blanks
             rewrite                             '<run_id> <cursor>' while the public key is being written again
             unkept                              dead letters that found no room; none in an epoch of version 1, which kept none
  4 or 10  {K}:a:totals          hash: member -> '<amount> <rows>', always the sum of the member's buckets
  5 or 11  {K}:a:buckets         hash: '<bucket>:<member>' -> '<amount> <rows>'; a bucket is named by its first millisecond
  6 or 12  {K}:a:expiry          sorted set: '<bucket>:<member>' -> bucket, the order in which entries expire
  7 or 13  {K}:a:ranking         sorted set: the ranking of an epoch that is not served yet, or is being written again
  8 or 14  {K}:a:owed            hash: '<partition>:<offset>' of a record that was parked -> the rows of it that are not in the sums:
                                 '-' the one it takes away, '+' the one it adds, '-+' both, '?' it could not be judged

Amounts are integers in units of 10^-scale; a score is written as '<amount>e-<scale>', which Redis reads as the double nearest to it.
Lua's numbers are doubles, so nothing may leave +-(2^53 - 1): such a call is refused whole.
A (bucket, member) whose rows come to zero loses what is left, and the total with it, unless rows are owed: what is left may be theirs.
A member without rows is not in the ranking. What is owed counts when it is replayed: once, in the call that takes it off the list.

Arguments begin with the version of the library and the time in Unix milliseconds (empty: the server's clock; tests pass one). A call of
another version is refused. Replies are arrays of strings, described at each function.

Redis 7.0: `string` and `math` do not exist while the library loads; numbers are never turned into text by `..` or tostring (both
give an exponent from 1e14); -0 is refused as an integer; unpack fails beyond about 8,000 values.
]]

local VERSION = '2'
local LIMIT = 9007199254740991 -- 2^53 - 1: the last integer that has no other one's double
local ENTRIES_MAX = 500
local DRAIN_MAX = 500
local UNPACK_MAX = 4000
local OWED_MAX = 100000

-- %d goes through a C long: exact, without an exponent, never -0, and much faster than %.0f.
local function integer(number)
  return string.format('%d', number)
end

local function parse(pair)
  local blank = string.find(pair, ' ', 1, true)
  return tonumber(string.sub(pair, 1, blank - 1)), tonumber(string.sub(pair, blank + 1))
end

-- One command over a list of any length.
local function each(command, key, list)
  for from = 1, #list, UNPACK_MAX do
    redis.call(command, key, unpack(list, from, math.min(from + UNPACK_MAX - 1, #list)))
  end
end

local function epoch_keys(keys, letter)
  local at = letter == 'a' and 2 or 8
  return { letter = letter, meta = keys[at + 1], totals = keys[at + 2], buckets = keys[at + 3], expiry = keys[at + 4], ranking = keys[at + 5],
    owed = keys[at + 6] }
end

local function load_epoch(keys, letter)
  if not letter then return nil end
  local epoch = epoch_keys(keys, letter)
  local f = redis.call('HMGET', epoch.meta, 'id', 'fingerprint', 'topic', 'boundary', 'ended', 'window', 'bucket', 'floor', 'scale', 'rewrite',
    'unkept')
  epoch.id, epoch.fingerprint, epoch.topic, epoch.boundary, epoch.ended = f[1], f[2], f[3], f[4], f[5] == '1'
  epoch.window, epoch.bucket, epoch.floor, epoch.scale, epoch.rewrite = tonumber(f[6]), tonumber(f[7]), tonumber(f[8]), f[9], f[10]
  epoch.unkept = f[11]
  epoch.exponent = 'e-' .. (epoch.scale or '0')
  return epoch
end

-- What every call begins with: the ranking as it is, or why it cannot be touched. Nothing is written here.
local function open(keys, args)
  if args[1] ~= VERSION then
    return nil, redis.error_reply('VERSION the function library is version ' .. VERSION .. ', the call is of version ' .. tostring(args[1]))
  end
  local type = redis.call('TYPE', keys[1]).ok
  if type ~= 'zset' and type ~= 'none' then
    return nil, redis.error_reply('KEYTYPE the key of the ranking holds a ' .. type)
  end
  local now = tonumber(args[2])
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  local letters = redis.call('HMGET', keys[2], 'served', 'building')
  local ranking = { keys = keys, now = now, public = keys[1], published = type == 'zset' }
  ranking.served, ranking.building = load_epoch(keys, letters[1]), load_epoch(keys, letters[2])
  ranking.current = ranking.building or ranking.served
  return ranking
end

-- {now, 'none' | 'served' | 'building', id of the served epoch, fields and values of the current epoch's hash}
local function describe(ranking)
  local current = ranking.current
  local role = not current and 'none' or ranking.building and 'building' or 'served'
  return { integer(ranking.now), role, ranking.served and ranking.served.id or '', current and redis.call('HGETALL', current.meta) or {} }
end

local function moved(ranking)
  return { 'moved', describe(ranking) }
end

local function window_start(now, window, bucket)
  local start = now - window
  return start - start % bucket
end

local function overflow(epoch, member)
  return redis.error_reply('OVERFLOW the sum of member ' .. string.sub(member, 1, 200) .. ' does not fit 2^53 units of 10^-' .. epoch.scale)
end

-- What a call is about to do to one epoch. All of it is computed and checked before the first write.
local function new_plan(epoch)
  return { epoch = epoch, stored_floor = epoch.floor, drained = {}, set = {}, del = {}, born = {}, members = {}, amounts = {}, rows = {}, late = 0 }
end

local function shift(plan, member, amount, rows)
  if not plan.amounts[member] then
    plan.members[#plan.members + 1] = member
    plan.amounts[member], plan.rows[member] = 0, 0
  end
  plan.amounts[member], plan.rows[member] = plan.amounts[member] + amount, plan.rows[member] + rows
  return math.abs(plan.amounts[member]) <= LIMIT
end

-- Plans to remove the entries that expired first. -> nil, or the error
local function plan_drain(plan, budget)
  local epoch = plan.epoch
  plan.drained = redis.call('ZRANGEBYSCORE', epoch.expiry, '-inf', '(' .. integer(epoch.floor), 'LIMIT', 0, budget)
  if #plan.drained == 0 then return nil end
  local stored = redis.call('HMGET', epoch.buckets, unpack(plan.drained))
  for i, field in ipairs(plan.drained) do
    local member = string.sub(field, string.find(field, ':', 1, true) + 1)
    local amount, rows = parse(stored[i])
    if not shift(plan, member, -amount, -rows) then return overflow(epoch, member) end
  end
end

-- Whether rows of records that were parked are missing from the sums.
local function owes(epoch)
  if epoch.owes == nil then epoch.owes = redis.call('EXISTS', epoch.owed) == 1 end
  return epoch.owes
end

-- Plans to add `count` entries of five arguments each: bucket, member, amount, rows, and how many rows came (for the count of late
-- ones). -> nil, or the error
local function plan_entries(plan, args, at, count)
  local epoch, fields, places = plan.epoch, {}, {}
  for i = at, at + 5 * count - 1, 5 do
    if tonumber(args[i]) < epoch.floor then
      plan.late = plan.late + tonumber(args[i + 4])
    else
      fields[#fields + 1], places[#places + 1] = args[i] .. ':' .. args[i + 1], i
    end
  end
  if #fields == 0 then return nil end
  local stored = redis.call('HMGET', epoch.buckets, unpack(fields))
  local set, born = plan.set, plan.born
  for n, field in ipairs(fields) do
    local i = places[n]
    local member, had, had_rows = args[i + 1], 0, 0
    if stored[n] then had, had_rows = parse(stored[n]) end
    local amount, rows = had + tonumber(args[i + 2]), had_rows + tonumber(args[i + 3])
    if math.abs(amount) > LIMIT then return overflow(epoch, member) end
    if rows == 0 and (amount == 0 or not owes(epoch)) then
      amount = 0
      if stored[n] then plan.del[#plan.del + 1] = field end
    else
      set[#set + 1], set[#set + 2] = field, string.format('%d %d', amount, rows)
      if not stored[n] then born[#born + 1], born[#born + 2] = args[i], field end
    end
    if not shift(plan, member, amount - had, rows - had_rows) then return overflow(epoch, member) end
  end
end

-- Plans the totals and the ranking from what was planned so far. -> nil, or the error
local function plan_totals(plan)
  plan.totals, plan.forgotten, plan.ranked, plan.unranked = {}, {}, {}, {}
  if #plan.members == 0 then return nil end
  local epoch, totals, ranked = plan.epoch, plan.totals, plan.ranked
  local stored = redis.call('HMGET', epoch.totals, unpack(plan.members))
  for i, member in ipairs(plan.members) do
    local amount, rows = 0, 0
    if stored[i] then amount, rows = parse(stored[i]) end
    amount, rows = amount + plan.amounts[member], rows + plan.rows[member]
    if math.abs(amount) > LIMIT then return overflow(epoch, member) end
    if amount == 0 and rows == 0 then
      plan.forgotten[#plan.forgotten + 1] = member
    else
      totals[#totals + 1], totals[#totals + 2] = member, string.format('%d %d', amount, rows)
    end
    if rows > 0 then
      ranked[#ranked + 1], ranked[#ranked + 2] = integer(amount) .. epoch.exponent, member
    else
      plan.unranked[#plan.unranked + 1] = member
    end
  end
end

-- Where an epoch's ranking is written: the public key if it is whole there, else the epoch's own key.
local function route(ranking, epoch)
  if epoch ~= ranking.served then return epoch.ranking end
  if epoch.rewrite then
    -- A cursor means nothing to another process: the hash seed is new.
    local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    local blank = string.find(epoch.rewrite, ' ', 1, true)
    epoch.run_id, epoch.cursor = run_id, string.sub(epoch.rewrite, blank + 1)
    if string.sub(epoch.rewrite, 1, blank - 1) == run_id then return epoch.ranking end
  elseif ranking.published or redis.call('HLEN', epoch.totals) == 0 then
    return ranking.public
  end
  epoch.run_id, epoch.cursor = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), '0'
  redis.call('UNLINK', epoch.ranking)
  return epoch.ranking
end

local function write_plan(ranking, plan)
  local epoch = plan.epoch
  local key = route(ranking, epoch)
  if #plan.drained > 0 then
    redis.call('ZREMRANGEBYRANK', epoch.expiry, 0, #plan.drained - 1)
    each('HDEL', epoch.buckets, plan.drained)
  end
  each('HSET', epoch.buckets, plan.set)
  each('ZADD', epoch.expiry, plan.born)
  each('HDEL', epoch.buckets, plan.del)
  each('ZREM', epoch.expiry, plan.del)
  each('HSET', epoch.totals, plan.totals)
  each('HDEL', epoch.totals, plan.forgotten)
  each('ZADD', key, plan.ranked)
  each('ZREM', key, plan.unranked)
  if epoch.floor > plan.stored_floor then redis.call('HSET', epoch.meta, 'floor', integer(epoch.floor)) end
end

local function put_in_place(ranking, epoch)
  redis.call('UNLINK', ranking.public)
  if redis.call('EXISTS', epoch.ranking) == 1 then redis.call('RENAME', epoch.ranking, ranking.public) end
end

-- Writes the next part of a lost public key beside it, from the totals; the last part puts it in place.
local function rewrite(ranking, epoch)
  local reply = redis.call('HSCAN', epoch.totals, epoch.cursor, 'COUNT', DRAIN_MAX)
  local ranked = {}
  for i = 1, #reply[2], 2 do
    local amount, rows = parse(reply[2][i + 1])
    if rows > 0 then ranked[#ranked + 1], ranked[#ranked + 2] = integer(amount) .. epoch.exponent, reply[2][i] end
  end
  each('ZADD', epoch.ranking, ranked)
  if reply[1] == '0' then
    put_in_place(ranking, epoch)
    redis.call('HDEL', epoch.meta, 'rewrite')
  else
    redis.call('HSET', epoch.meta, 'rewrite', epoch.run_id .. ' ' .. reply[1])
    ranking.more = true
  end
end

local function remove_epoch(epoch)
  redis.call('UNLINK', epoch.meta, epoch.totals, epoch.buckets, epoch.expiry, epoch.ranking, epoch.owed)
end

local function is_complete(epoch)
  if epoch.boundary ~= '' and not epoch.ended then return false end
  local fields = {}
  for p in string.gmatch(redis.call('HGET', epoch.meta, 'partitions'), '%d+') do
    fields[#fields + 1], fields[#fields + 2] = 'next:' .. p, 'target:' .. p
  end
  for from = 1, #fields, UNPACK_MAX do
    local f = redis.call('HMGET', epoch.meta, unpack(fields, from, math.min(from + UNPACK_MAX - 1, #fields)))
    for i = 1, #f, 2 do
      if tonumber(f[i]) < tonumber(f[i + 1]) then return false end
    end
  end
  return true
end

-- The first half of every call: floors move forward, expired entries are planned to go. -> plans of the served and the built
-- epoch, or nil and the error
local function plan_roll(ranking)
  local plans, budget = {}, DRAIN_MAX
  for _, name in ipairs({ 'served', 'building' }) do
    local epoch = ranking[name]
    if epoch then
      plans[name] = new_plan(epoch)
      epoch.floor = math.max(epoch.floor, window_start(ranking.now, epoch.window, epoch.bucket))
      local failed = budget > 0 and plan_drain(plans[name], budget)
      if failed then return nil, failed end
      budget = budget - #plans[name].drained
    end
  end
  ranking.more = budget == 0
  return plans
end

-- The second half: totals are checked, then everything planned is written. -> nil, or the error and nothing was written
local function write_plans(ranking, plans)
  for _, plan in pairs(plans) do
    local failed = plan_totals(plan)
    if failed then return failed end
  end
  if plans.served then write_plan(ranking, plans.served) end
  if plans.building then write_plan(ranking, plans.building) end
end

-- The end of every call: the swap when it is due, the public key and its TTL. -> whether there was a swap
local function publish(ranking)
  local building, swapped = ranking.building, false
  if building and is_complete(building) then
    if ranking.served then remove_epoch(ranking.served) end
    put_in_place(ranking, building)
    redis.call('HSET', ranking.keys[2], 'served', building.letter)
    redis.call('HDEL', ranking.keys[2], 'building')
    ranking.served, ranking.building, swapped = building, nil, true
  elseif ranking.served and ranking.served.cursor then
    rewrite(ranking, ranking.served)
  end
  if ranking.served then redis.call('PEXPIRE', ranking.public, integer(ranking.served.window)) end
  return swapped
end

local function flag(condition)
  return condition and '1' or '0'
end

-- {'ok', id of the current epoch, its role, its floor, rows that came late, ended, swapped, more to drain or to write again, unkept}
local function done(ranking, late, swapped)
  local current = ranking.current
  if not current then return { 'ok', '', 'none', '0', '0', '1', '0', '0', '0' } end
  local role = current == ranking.served and 'served' or 'building'
  local ended = current.boundary == '' or current.ended
  return { 'ok', current.id, role, integer(current.floor), integer(late), flag(ended), flag(swapped), flag(ranking.more),
    current.unkept or '0' }
end

-- version, now -> as `done`. Moves the windows on when nothing else does.
local function tick(keys, args)
  local ranking, failed = open(keys, args)
  if failed then return failed end
  local plans
  plans, failed = plan_roll(ranking)
  failed = failed or write_plans(ranking, plans)
  if failed then return failed end
  return done(ranking, 0, publish(ranking))
end

-- Raises the targets when the end of the snapshot run was read: until then nobody knew how far it goes.
local function end_run(epoch, args, at, count)
  if count == 0 or epoch.boundary == '' or epoch.ended then return end
  epoch.ended = true
  local fields = { 'ended', '1' }
  for i = at, at + 2 * count - 1, 2 do
    local target = redis.call('HGET', epoch.meta, 'target:' .. args[i])
    if target and tonumber(args[i + 1]) > tonumber(target) then
      fields[#fields + 1], fields[#fields + 2] = 'target:' .. args[i], args[i + 1]
    end
  end
  each('HSET', epoch.meta, fields)
end

-- Remembers what the records that this batch parked would have come to. What finds no room is counted.
local function owe(epoch, args, at, count)
  if count == 0 then return end
  local kept = math.max(0, math.min(count, OWED_MAX - redis.call('HLEN', epoch.owed)))
  local fields = {}
  for i = at, at + 2 * kept - 1 do fields[#fields + 1] = args[i] end
  each('HSET', epoch.owed, fields)
  if kept < count then epoch.unkept = integer(redis.call('HINCRBY', epoch.meta, 'unkept', integer(count - kept))) end
end

-- version, now, epoch, slices, targets, parked, entries, then of each slice: partition, token, next, mark; of each target (when the end
-- of the snapshot run was read): partition, high watermark; of each record that was parked: '<partition>:<offset>', rows owed; of each
-- entry: bucket, member, amount, rows, rows that came; (bucket, member) distinct. -> as `done`, or {'moved', as state}
local function apply(keys, args)
  local ranking, failed = open(keys, args)
  if failed then return failed end
  local epoch, slices, targets, parked, entries = ranking.current, tonumber(args[4]), tonumber(args[5]), tonumber(args[6]), tonumber(args[7])
  if entries > ENTRIES_MAX then return redis.error_reply('LIMIT a call has at most ' .. integer(ENTRIES_MAX) .. ' entries') end
  if not epoch or epoch.id ~= args[3] then return moved(ranking) end
  local slices_at, progress = 8, {}
  local targets_at = slices_at + 4 * slices
  local parked_at = targets_at + 2 * targets
  local entries_at = parked_at + 2 * parked
  for i = slices_at, targets_at - 1, 4 do
    local p = args[i]
    if (redis.call('HGET', epoch.meta, 'next:' .. p) or '0') ~= args[i + 1] then return moved(ranking) end
    local n = #progress
    progress[n + 1], progress[n + 2], progress[n + 3], progress[n + 4] = 'next:' .. p, args[i + 2], 'mark:' .. p, args[i + 3]
  end
  local plans
  plans, failed = plan_roll(ranking)
  if failed then return failed end
  local plan = ranking.building and plans.building or plans.served
  if parked > 0 then epoch.owes = true end
  failed = plan_entries(plan, args, entries_at, entries) or write_plans(ranking, plans)
  if failed then return failed end
  each('HSET', epoch.meta, progress)
  owe(epoch, args, parked_at, parked)
  end_run(epoch, args, targets_at, targets)
  return done(ranking, plan.late, publish(ranking))
end

-- version, now, '<partition>:<offset>' of each record -> {id of the current epoch, then of each the rows owed, empty for none}
local function owed(keys, args)
  local ranking, failed = open(keys, args)
  if failed then return failed end
  local reply = { ranking.current and ranking.current.id or '' }
  for i = 3, #args do
    reply[i - 1] = ranking.current and redis.call('HGET', ranking.current.owed, args[i]) or ''
  end
  return reply
end

-- version, now, epoch, '<partition>:<offset>' of a record that was parked, rows of it that the caller saw owed, those that stay owed (empty:
-- none), entries, then each as in `apply`: counts what is owed no more. -> as `done`, or {'moved', as state}: something else is owed
local function replay(keys, args)
  local ranking, failed = open(keys, args)
  if failed then return failed end
  local epoch, entries = ranking.current, tonumber(args[7])
  if entries > ENTRIES_MAX then return redis.error_reply('LIMIT a call has at most ' .. integer(ENTRIES_MAX) .. ' entries') end
  if not epoch or epoch.id ~= args[3] or redis.call('HGET', epoch.owed, args[4]) ~= args[5] then return moved(ranking) end
  local plans
  plans, failed = plan_roll(ranking)
  if failed then return failed end
  local plan = ranking.building and plans.building or plans.served
  epoch.owes = args[6] ~= '' or redis.call('HLEN', epoch.owed) > 1
  failed = plan_entries(plan, args, 8, entries) or write_plans(ranking, plans)
  if failed then return failed end
  if args[6] == '' then
    redis.call('HDEL', epoch.owed, args[4])
  else
    redis.call('HSET', epoch.owed, args[4], args[6])
  end
  return done(ranking, plan.late, publish(ranking))
end

-- Targets as planned, raised to the progress that readers have seen. Offsets of another topic say nothing.
local function raised(ranking, topic, p, target)
  for _, name in ipairs({ 'served', 'building' }) do
    local old = ranking[name]
    if old and old.topic == topic then
      local reached = redis.call('HGET', old.meta, 'next:' .. p)
      if reached and tonumber(reached) > tonumber(target) then target = reached end
    end
  end
  return target
end

-- version, now, id of the epoch it replaces (empty: none), id, run_id, fingerprint, topic, boundary, ended, window, bucket, scale, then of
-- each partition: partition, start, target. -> as `done`, or {'moved', as state}
local function begin(keys, args)
  local ranking, failed = open(keys, args)
  if failed then return failed end
  local current = ranking.current
  if (current and current.id or '') ~= args[3] then return moved(ranking) end
  local plans
  local kept = { now = ranking.now, served = ranking.served } -- what is being built is discarded
  plans, failed = plan_roll(kept)
  failed = failed or write_plans(ranking, plans)
  if failed then return failed end
  ranking.more = kept.more
  local floor = window_start(ranking.now, tonumber(args[10]), tonumber(args[11]))
  if current and current.fingerprint == args[6] then floor = math.max(floor, current.floor) end
  local letter = ranking.served and ranking.served.letter == 'a' and 'b' or 'a'
  local fields, partitions = { 'id', args[4], 'run_id', args[5], 'fingerprint', args[6], 'topic', args[7], 'boundary', args[8], 'ended', args[9],
    'window', args[10], 'bucket', args[11], 'scale', args[12], 'floor', integer(floor), 'unkept', '0' }, {}
  for i = 13, #args, 3 do
    local p, n = args[i], #fields
    partitions[#partitions + 1] = p
    fields[n + 1], fields[n + 2] = 'next:' .. p, args[i + 1]
    fields[n + 3], fields[n + 4] = 'target:' .. p, raised(ranking, args[7], p, args[i + 2])
  end
  fields[#fields + 1], fields[#fields + 2] = 'partitions', table.concat(partitions, ' ')
  local epoch = epoch_keys(keys, letter)
  remove_epoch(epoch)
  each('HSET', epoch.meta, fields)
  redis.call('HSET', keys[2], 'building', letter)
  ranking.building = load_epoch(keys, letter)
  ranking.current = ranking.building
  return done(ranking, 0, publish(ranking))
end

-- version, now -> as `describe`
local function state(keys, args)
  local ranking, failed = open(keys, args)
  return failed or describe(ranking)
end

redis.register_function('highwater_apply', apply)
redis.register_function('highwater_replay', replay)
-- What is full must be able to drain.
redis.register_function { function_name = 'highwater_tick', callback = tick, flags = { 'allow-oom' } }
redis.register_function('highwater_begin', begin)
redis.register_function { function_name = 'highwater_state', callback = state, flags = { 'no-writes' } }
redis.register_function { function_name = 'highwater_owed', callback = owed, flags = { 'no-writes' } }
redis.register_function { function_name = 'highwater_version', callback = function() return VERSION end, flags = { 'no-writes' } }
