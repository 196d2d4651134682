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
      13 parent to wake, or ""
      14 n places, then n x (place, score)
      15 n timers, then n x (kind, unix seconds or "keep" = as it stands)
Returns {"ok", stream id, ...} in the order of the changes, or {why, index of the change, what is there}:
      epoch | exists | gone | version | token | slots | number | key
]]
local tag = KEYS[1] .. ":"
local epoch = redis.call("HGET", tag .. "meta", "epoch")
if epoch ~= ARGV[1] then return { "epoch", 0, epoch or "" } end

local changes, at = {}, 4
for i = 1, tonumber(ARGV[3]) do
  local c = {
    id = ARGV[at], read = ARGV[at + 1], held = ARGV[at + 2], version = ARGV[at + 3], token = ARGV[at + 4],
    doc = ARGV[at + 5], line = ARGV[at + 6], idem = ARGV[at + 7], digest = ARGV[at + 8], number = ARGV[at + 9],
    agent = ARGV[at + 10], capacity = tonumber(ARGV[at + 11]), wake = ARGV[at + 12], places = {}, timers = {},
  }
  at = at + 13
  for _, list in ipairs({ "places", "timers" }) do
    local n = tonumber(ARGV[at])
    for j = 1, n do c[list][j] = { ARGV[at + 2 * j - 1], ARGV[at + 2 * j] } end
    at = at + 1 + 2 * n
  end
  changes[i] = c
end

local taken = {}
for i, c in ipairs(changes) do
  local have = redis.call("HMGET", tag .. "ticket:" .. c.id, "v", "k", "p", "t")
  c.was_places, c.was_timers = have[3] or "", have[4] or ""
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
  if c.agent ~= "" then
    local used = taken[c.agent] or redis.call("ZCARD", tag .. "assigned:" .. c.agent) + redis.call("ZCARD", tag .. "working:" .. c.agent)
    if used + 1 > c.capacity then return { "slots", i, tostring(used) } end
    taken[c.agent] = used + 1
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
    local places, timers = {}, {}
    for _, p in ipairs(c.places) do
      redis.call("ZADD", tag .. p[1], p[2], c.id)
      if string.sub(p[1], 1, 6) == "ready:" then redis.call("SADD", tag .. "groups", string.sub(p[1], 7)) end
      places[#places + 1] = p[1]
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
      "p", table.concat(places, "\n"), "t", table.concat(timers, "\n"))
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
