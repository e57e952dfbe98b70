package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{Median: 3, Q1: 3, Q3: 3, N: 1}},
		{[]float64{5, 1, 3}, spread{Median: 3, Q1: 2, Q3: 4, N: 3}},
		{[]float64{4, 1, 2, 3}, spread{Median: 2.5, Q1: 1.75, Q3: 3.25, N: 4}},
		{[]float64{1, 2, 3, 4, 100}, spread{Median: 3, Q1: 2, Q3: 4, N: 5}},
	} {
		assert.Equal(t, test.want, spreadOf(test.values), "%v", test.values)
	}
	assert.True(t, math.IsNaN(spreadOf(nil).Median))
}

func TestSpreadLeavesTheValuesInOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	spreadOf(values)
	assert.Equal(t, []float64{3, 1, 2}, values)
}

func TestText(t *testing.T) {
	assert.Equal(t, "12,346 (1–2)", spread{Median: 12345.6, Q1: 1, Q3: 2, N: 2}.text(0))
	assert.Equal(t, "3.2", spread{Median: 3.16, N: 1}.text(1))
}

func TestGrouped(t *testing.T) {
	for _, test := range []struct {
		value    float64
		decimals int
		want     string
	}{
		{0, 0, "0"},
		{999, 0, "999"},
		{1000, 0, "1,000"},
		{1234567.89, 1, "1,234,567.9"},
		{-123, 0, "-123"},
		{-1234, 0, "-1,234"},
	} {
		assert.Equal(t, test.want, grouped(test.value, test.decimals))
	}
}
