--[[
load_spent: a counter is there again, as SQL has it; one that is there already stays as it is.
KEYS  1 the counter
ARGV  1 a generation nobody has used   2 tokens   3 money, billionths   4 runs   5 seconds it is kept
Returns 1 where it was loaded, else 0.
]]
if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
redis.call("HSET", KEYS[1], "gen", ARGV[1], "tokens", ARGV[2], "money", ARGV[3], "runs", ARGV[4])
redis.call("EXPIRE", KEYS[1], ARGV[5])
return 1
