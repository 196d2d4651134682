--[[
take_refusals: put the counts of refusals aside as one batch, to be added in SQL. A batch that was put aside before and
is still there comes again, under the same number: whoever took it may have ended before, or after, adding it.
KEYS  1 tag of the team
Returns {} where there is nothing, else {number of the batch, field, count, field, count, ...}
      number: epoch and a counter of the team's, so that a later batch has a higher one, after a lost Redis, too
]]
local tag = KEYS[1] .. ":"
local taken = tag .. "refused:taken"
if redis.call("EXISTS", taken) == 0 then
  local epoch = redis.call("HGET", tag .. "meta", "epoch")
  if not epoch or redis.call("EXISTS", tag .. "refused") == 0 then return {} end
  redis.call("RENAME", tag .. "refused", taken)
  local n = redis.call("HINCRBY", tag .. "meta", "refusals", 1)
  redis.call("HSET", taken, "@batch", string.format("%012d.%012d", tonumber(epoch), n))
end
local answer = { redis.call("HGET", taken, "@batch") }
local all = redis.call("HGETALL", taken)
for i = 1, #all, 2 do
  if all[i] ~= "@batch" then
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
