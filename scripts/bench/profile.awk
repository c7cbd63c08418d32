# Groups what `go tool pprof -top` prints of a run of secencoder by kind of work, in shares of all samples:
#
#     go tool pprof -top -nodefraction=0 train.pprof | awk -f scripts/bench/profile.awk
#
# The first pattern that a function's name holds decides.
BEGIN {
	n = split("products|packing for products|position terms of attention|softmax and its gradient|conversions|GELU|norms, dropout|update and norm of the gradient|the rest", kind, "|")
	pattern[1] = "[.](gemm|rows|cols|tile)[0-9]+x|[.]sweep|[.]panels|[.]lying"
	pattern[2] = "[.]pack"
	pattern[3] = "pickRows|lookRows|lookTurned|sumRows|sumTurned|sumScores|[aA]ddTransposed|lookScores|fetch(Rows|Scores)"
	pattern[4] = "softmax|scoreGrad|gradTile"
	pattern[5] = "vecNarrow|vecWiden"
	pattern[6] = "[gG]elu"
	pattern[7] = "[nN]orm|[dD]ropout|[pP]hilox|keepRow"
	pattern[8] = "AdamW|SumSquares|sumSquares"
}
$2 ~ /%$/ && $1 ~ /s$/ {
	share = $2 + 0
	for (i = 1; i < n; i++) if ($0 ~ pattern[i]) break
	sum[i] += share
	listed += share
}
END {
	sum[n] += 100 - listed
	for (i = 1; i <= n; i++) printf "| %s | %.1f %% |\n", kind[i], sum[i]
}
