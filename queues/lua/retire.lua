--[[
retire: completed tickets leave Redis; SQL keeps them. Which may go was decided on a reading of Redis and SQL; here a
ticket is only let go when it is still the one that was read, still completed, and none of its lines waits for SQL.
Each ticket goes whole or stays whole. What others remember of it by their own time ("last" of a customer) stays.
KEYS  1 tag of the team
ARGV  1 epoch   2 completed before, unix seconds, then for each ticket: 3 id   4 version read   5 number
Returns how many left; -1 = the epoch is another.
]]
local tag = KEYS[1] .. ":"
if redis.call("HGET", tag .. "meta", "epoch") ~= ARGV[1] then return -1 end
local before, gone = tonumber(ARGV[2]), 0
for i = 3, #ARGV, 3 do
  local id, key = ARGV[i], tag .. "ticket:" .. ARGV[i]
  local closed = redis.call("ZSCORE", tag .. "queue:completed", id)
  local have = redis.call("HMGET", key, "v", "p", "t", "c", "f")
  if closed and tonumber(closed) < before and have[1] == ARGV[i + 1] and redis.call("EXISTS", tag .. "lines:" .. id) == 0 then
    redis.call("ZREM", tag .. "queue:completed", id)
    for place in string.gmatch(have[2] or "", "[^\n]+") do redis.call("ZREM", tag .. place, id) end
    for kind in string.gmatch(have[3] or "", "[^\n]+") do redis.call("ZREM", tag .. "timers", kind .. ":" .. id) end
    for card in string.gmatch(have[4] or "", "[^\n]+") do redis.call("HDEL", tag .. card, id) end
    for m in string.gmatch(have[5] or "", "[^\n]+") do
      if redis.call("HGET", tag .. "mark", m) == id then redis.call("HDEL", tag .. "mark", m) end
    end
    redis.call("SREM", tag .. "wake", id)
    if redis.call("HGET", tag .. "numbers", ARGV[i + 2]) == id then redis.call("HDEL", tag .. "numbers", ARGV[i + 2]) end
    redis.call("UNLINK", key)
    gone = gone + 1
  end
end
return gone
