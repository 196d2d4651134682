--[[
commit: write a list of moves, all of them or none.
The rules live in queues/lifecycle.py; this script only refuses writes that were decided on an out-of-date reading.
It reads no clock: every time is an argument. A failing script keeps its earlier writes, so everything is checked first.
A ticket stands in the places its last commit named, and in no others: the old ones are kept in its hash and left here.

KEYS  1 tag of the team, {shiftlead:team}; the families of queues/keys.py are appended to it
ARGV  1 epoch   2 "1" = ring the coordinator's bell   3 number of changes, then for each change:
      1 ticket id        2 version read, "0" = must not exist, "" = do not check
      3 token the caller holds, "" = it needs none
      4 version to write 5 token to write   6 document, JSON; "" = only a line is written
      7 line, JSON       8 idempotency entry, JSON, or ""   9 its digest, or ""
      10 number to register, or ""          11 agent whose slots count, or ""   12 its capacity
      13 parent to wake, or ""              14 slots it takes   15 lane of an assignment, or ""
      16 kind of a timer that must be armed, or ""              17 for which moment, unix seconds
      18 n places, then n x (place, score)
      19 n timers, then n x (kind, unix seconds or "keep" = as it stands)
      20 n cards, then n x (hash, field, value): what others may know of it while it stands so; the field "last"
         is a key of its own, which stays for a while
      21 n marks, then n x digest: a new ticket is refused where another open ticket has one of them
Returns {"ok", stream id, ...} in the order of the changes, or {why, index of the change, what is there}:
      epoch | exists | gone | version | token | slots | number | key | mark | timer
]]
local tag = KEYS[1] .. ":"
local epoch = redis.call("HGET", tag .. "meta", "epoch")
if epoch ~= ARGV[1] then return { "epoch", 0, epoch or "" } end

local changes, at = {}, 4
for i = 1, tonumber(ARGV[3]) do
  local c = {
    id = ARGV[at], read = ARGV[at + 1], held = ARGV[at + 2], version = ARGV[at + 3], token = ARGV[at + 4],
    doc = ARGV[at + 5], line = ARGV[at + 6], idem = ARGV[at + 7], digest = ARGV[at + 8], number = ARGV[at + 9],
    agent = ARGV[at + 10], capacity = tonumber(ARGV[at + 11]), wake = ARGV[at + 12], weight = tonumber(ARGV[at + 13]),
    lane = ARGV[at + 14], armed = ARGV[at + 15], armed_at = ARGV[at + 16], places = {}, timers = {}, cards = {}, marks = {},
  }
  at = at + 17
  for _, list in ipairs({ { "places", 2 }, { "timers", 2 }, { "cards", 3 }, { "marks", 1 } }) do
    local name, width, n = list[1], list[2], tonumber(ARGV[at])
    for j = 1, n do
      local item = {}
      for k = 1, width do item[k] = ARGV[at + width * (j - 1) + k] end
      c[name][j] = item
    end
    at = at + 1 + width * n
  end
  changes[i] = c
end

local taken = {}
for i, c in ipairs(changes) do
  local have = redis.call("HMGET", tag .. "ticket:" .. c.id, "v", "k", "p", "t", "c", "f")
  c.was_places, c.was_timers, c.was_cards, c.was_marks = have[3] or "", have[4] or "", have[5] or "", have[6] or ""
  if c.read == "0" and have[1] then return { "exists", i, have[1] } end
  -- a line about a ticket that has left Redis would begin to count its lines anew
  if c.read == "" and not have[1] then return { "gone", i, "" } end
  if c.held ~= "" and have[2] ~= c.held then return { "token", i, have[2] or "" } end
  if c.read ~= "" and c.read ~= "0" and have[1] ~= c.read then return { "version", i, have[1] or "" } end
  if c.number ~= "" then
    local owner = redis.call("HGET", tag .. "numbers", c.number)
    if owner and owner ~= c.id then return { "number", i, owner } end
  end
  if c.digest ~= "" then
    local entry = redis.call("GET", tag .. "idem:" .. c.digest)
    if entry then return { "key", i, entry } end
  end
  if c.armed ~= "" then
    local score = redis.call("ZSCORE", tag .. "timers", c.armed .. ":" .. c.id)
    if not score or tonumber(score) ~= tonumber(c.armed_at) then return { "timer", i, score or "" } end
  end
  if c.read == "0" then
    for _, m in ipairs(c.marks) do
      local owner = redis.call("HGET", tag .. "mark", m[1])
      if owner and redis.call("EXISTS", tag .. "ticket:" .. owner) == 1 then return { "mark", i, owner } end
    end
  end
  if c.agent ~= "" then
    local used = taken[c.agent]
    if not used then
      used = redis.call("ZCARD", tag .. "assigned:" .. c.agent) + redis.call("ZCARD", tag .. "working:" .. c.agent)
      for _, more in ipairs(redis.call("HVALS", tag .. "heavy:" .. c.agent)) do used = used + tonumber(more) end
    end
    if used + c.weight > c.capacity then return { "slots", i, tostring(used) } end
    taken[c.agent] = used + c.weight
  end
end

-- Marks are given up before any is taken: a merged ticket's go to the one it lives on in.
for _, c in ipairs(changes) do
  if c.doc ~= "" then
    for m in string.gmatch(c.was_marks, "[^\n]+") do
      if redis.call("HGET", tag .. "mark", m) == c.id then redis.call("HDEL", tag .. "mark", m) end
    end
  end
end

local answer = { "ok" }
for i, c in ipairs(changes) do
  local key = tag .. "ticket:" .. c.id
  if c.doc ~= "" then
    for place in string.gmatch(c.was_places, "[^\n]+") do redis.call("ZREM", tag .. place, c.id) end
    local kept = {}
    for kind in string.gmatch(c.was_timers, "[^\n]+") do
      local member = kind .. ":" .. c.id
      kept[kind] = redis.call("ZSCORE", tag .. "timers", member)
      redis.call("ZREM", tag .. "timers", member)
    end
    for line in string.gmatch(c.was_cards, "[^\n]+") do redis.call("HDEL", tag .. line, c.id) end
    local places, timers, cards, marks = {}, {}, {}, {}
    for _, p in ipairs(c.places) do
      redis.call("ZADD", tag .. p[1], p[2], c.id)
      if string.sub(p[1], 1, 6) == "ready:" then redis.call("SADD", tag .. "groups", string.sub(p[1], 7)) end
      if p[1] == "queue:completed" then
        for _, waiter in ipairs(redis.call("HKEYS", tag .. "waiters:" .. c.id)) do redis.call("SADD", tag .. "wake", waiter) end
      end
      if string.sub(p[1], 1, 7) == "behind:" then redis.call("SADD", tag .. "behinds", string.sub(p[1], 8)) end
      places[#places + 1] = p[1]
    end
    for _, card in ipairs(c.cards) do
      if card[2] == c.id then
        redis.call("HSET", tag .. card[1], card[2], card[3])
        cards[#cards + 1] = card[1]
      else
        redis.call("SET", tag .. card[1], card[3], "EX", 7776000)
      end
    end
    for _, m in ipairs(c.marks) do
      redis.call("HSETNX", tag .. "mark", m[1], c.id)
      marks[#marks + 1] = m[1]
    end
    for _, t in ipairs(c.timers) do
      local score = t[2]
      if score == "keep" then score = kept[t[1]] end
      if score then
        redis.call("ZADD", tag .. "timers", score, t[1] .. ":" .. c.id)
        timers[#timers + 1] = t[1]
      end
    end
    redis.call("HSET", key, "doc", c.doc, "v", c.version, "k", c.token,
      "p", table.concat(places, "\n"), "t", table.concat(timers, "\n"),
      "c", table.concat(cards, "\n"), "f", table.concat(marks, "\n"))
    if c.lane == "urgent" then redis.call("HINCRBY", tag .. "run", c.agent, 1)
    elseif c.lane ~= "" then redis.call("HSET", tag .. "run", c.agent, 0) end
  end
  if c.number ~= "" then redis.call("HSET", tag .. "numbers", c.number, c.id) end
  if c.digest ~= "" then redis.call("SET", tag .. "idem:" .. c.digest, c.idem, "EX", 86400) end
  if c.wake ~= "" then redis.call("SADD", tag .. "wake", c.wake) end
  local seq = redis.call("HINCRBY", key, "s", 1)
  redis.call("HSET", tag .. "lines:" .. c.id, seq, c.line)
  answer[i + 1] = redis.call("XADD", tag .. "ledger", "*", "e", epoch, "t", c.id, "s", seq, "m", c.line, "d", c.doc, "i", c.idem)
end
if ARGV[2] == "1" and redis.call("EXISTS", tag .. "bell") == 0 then redis.call("LPUSH", tag .. "bell", "1") end
return answer
