package model

import (
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// mlmRows is the MLM head before its decoder, on the masked rows alone: LN(act(x·Wᵀ + b)). Both head classes of HF
// compute it. // [T, E]
func (g *graph) mlmRows() *G.Node {
	const at = "cls.predictions.transform."
	z := g.Linear(g.Gather(g.last()), g.dense(at+"dense", g.activation(g.cfg.HiddenAct), kernel.RowsMasked, kernel.Dropout{}))
	return g.LayerNorm(z, g.norm(at+"LayerNorm", kernel.RowsMasked, kernel.Dropout{}))
}

// wordTable finds the leaf of the word embeddings, which the decoder is tied to. // [V, E]
func (g *graph) wordTable() *G.Node { return g.params[0].node }

// addMLM ends the graph in the masked-language-model loss.
func (g *graph) addMLM() {
	g.mlm = g.MLMLoss(g.mlmRows(), g.wordTable(), g.param("cls.predictions.bias"))
	g.loss = g.mlm.Loss
}

// addLogits ends the graph in the logits of the first rows masked positions. // [rows, V]
func (g *graph) addLogits(rows int) {
	g.logits = g.Linear(g.mlmRows(), op.Dense{W: g.wordTable(), B: g.param("cls.predictions.bias"), Rows: kernel.RowsMasked, N: rows, Logits: true})
}

// addPool ends the graph in one vector a piece. // [T/2, H]
func (g *graph) addPool(p Pool) {
	switch p {
	case PoolFirst:
		g.pooled = g.PoolFirst(g.last())
	default:
		g.pooled = g.PoolMean(g.last(), p == PoolContent)
	}
}

// addSequence ends the graph in HF's DebertaV2ForSequenceClassification: ContextPooler on the first token, dropout,
// classifier. The vectors of pieces are float32, and so is what follows. // [T/2, C]
func (g *graph) addSequence() {
	pooler := g.dense("pooler.dense", g.activation(g.cfg.PoolerHiddenAct), kernel.RowsPieces, g.drop(g.cfg.PoolerDropout, 0, siteHead))
	pooled := g.Linear(g.PoolFirst(g.last()), pooler)
	g.logits = g.Linear(pooled, g.dense("classifier", kernel.Linear, kernel.RowsPieces, g.drop(g.cfg.ClassifierDropout(), 1, siteHead)))
}

// addToken ends the graph in HF's DebertaV2ForTokenClassification. // [T, C]
func (g *graph) addToken() {
	d := g.dense("classifier", kernel.Linear, kernel.RowsTokens, g.drop(g.cfg.HiddenDropoutProb, 0, siteHead))
	d.Logits = true
	g.logits = g.Linear(g.last(), d)
}

// addClassLoss adds the loss over the logits of either head.
func (g *graph) addClassLoss(rows kernel.RowKind, kind kernel.LossKind) {
	s := g.logits.Shape()
	if kind == kernel.CrossEntropy {
		g.labels = g.Input("labels", kernel.I32, s[0])
	} else {
		g.labels = g.Input("labels", kernel.F32, s...)
	}
	g.loss = g.ClassifyLoss(g.logits, g.labels, rows, kind)
}

// addQuestion ends the graph in HF's DebertaV2ForQuestionAnswering: one linear layer on every token, no dropout. // [T, 2]
func (g *graph) addQuestion() {
	d := g.dense("qa_outputs", kernel.Linear, kernel.RowsTokens, kernel.Dropout{})
	d.BiasHasNoGradient, d.Logits = true, true
	g.logits = g.Linear(g.last(), d)
}

// addSpanLoss adds its loss.
func (g *graph) addSpanLoss() {
	g.labels = g.Input("labels", kernel.I32, g.T/2, spanLogits)
	g.loss = g.SpanLoss(g.logits, g.labels)
}
