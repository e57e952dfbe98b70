package reports

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"chokepoint/harness/heatmap"
	"chokepoint/harness/signal"
)

//go:embed templates/heatmap.svg
var heatmapPage string

// HeatmapSVG draws a map as one SVG image that needs no script and asks for
// nothing. It may stand by itself or inside an HTML page.
func HeatmapSVG(w io.Writer, m heatmap.Map) error {
	// html/template escapes for SVG inside HTML, which is as strict as XML needs.
	t, err := template.New("heatmap").Parse(heatmapPage)
	if err != nil {
		return fmt.Errorf("render heat map: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, newHeatView(m)); err != nil {
		return fmt.Errorf("render heat map: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write heat map: %w", err)
	}
	return nil
}

// HeatmapText says for a person at a terminal what a map shows.
func HeatmapText(w io.Writer, m heatmap.Map) error {
	p := &printer{width: defaultWidth}
	p.wrapped("", "", fmt.Sprintf("%s in %s, from %s.", plural(int(m.Requests), "request"), span(m), m.Source))
	for _, f := range heatBands(m) {
		p.wrapped("  ", "    ", f)
	}
	for _, text := range heatRest(m) {
		p.wrapped("  ", "    ", text)
	}
	for i, s := range m.Spells {
		p.line("")
		head, why := heatSpell(m, s)
		p.wrapped("  ", "    ", fmt.Sprintf("%d. %s", i+1, head))
		for _, line := range why {
			p.wrapped("     ", "     ", line)
		}
	}
	if len(m.Notes) > 0 {
		p.title("Notes")
		for _, note := range m.Notes {
			p.wrapped("  ", "  ", note)
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func span(m heatmap.Map) string {
	return show(math.Round(float64(m.EndNS-m.StartNS)/1e7)*1e7, signal.Nanosecond)
}

// heatRest says what there is to say where no spell is, and of the whole.
func heatRest(m heatmap.Map) []string {
	var out []string
	if t := m.Trend; t != nil {
		verb := "rises"
		if t.Tau < 0 {
			verb = "falls"
		}
		out = append(out, fmt.Sprintf("Latency %s throughout: the median goes from %s to %s. The load had not settled.", verb, ns(t.FromNS), ns(t.ToNS)))
	}
	if b := m.Bursts; b != nil {
		text := fmt.Sprintf("Requests end in %s with silence between them: %s of the columns hold nearly all.", plural(b.Count, "burst"), show(b.BusyShare, signal.Share))
		if b.EveryNS > 0 {
			text = strings.TrimSuffix(text, ".") + ", one burst every " + ns(b.EveryNS) + "."
		}
		out = append(out, text)
		for _, c := range b.Causes {
			out = append(out, "In the silences "+causeText(c))
		}
		if len(b.Causes) == 0 {
			text := "Nothing that was recorded explains the silences"
			if near := closest(b.Tried); near != "" {
				text += near
			} else {
				text += " beyond chance"
			}
			out = append(out, text+".")
		}
	} else if m.SpellsUnknown != "" {
		out = append(out, upper(m.SpellsUnknown)+".")
	} else if m.Requests > 0 && len(m.Spells) == 0 {
		out = append(out, "No spell stands out from the rest more than chance would have it.")
	}
	return out
}

func ns(v int64) string {
	if v < 0 {
		return "–"
	}
	return show(float64(v), signal.Nanosecond)
}

func heatBands(m heatmap.Map) []string {
	if len(m.Bands) < 2 {
		return nil
	}
	var out []string
	for _, b := range m.Bands {
		out = append(out, fmt.Sprintf("A band from %s to %s, around %s, holds %s of the requests and is there in %s of the columns.",
			ns(b.LowNS), ns(b.HighNS), ns(b.PeakNS), show(b.Share, signal.Share), show(b.Seen, signal.Share)))
	}
	return out
}

// heatSpell says what a spell is, and in further lines what explains it.
func heatSpell(m heatmap.Map, s heatmap.Spell) (head string, why []string) {
	head = fmt.Sprintf("%s to %s s: ", at(m, s.StartNS), at(m, s.EndNS))
	switch s.Kind {
	case heatmap.Silent:
		head += fmt.Sprintf("hardly any request ended (%s)", count(s.Requests))
	case heatmap.Spread:
		head += fmt.Sprintf("slower and faster at once, median %s (usually %s), p90 %s (%s)", ns(s.MedianNS), ns(s.UsualNS), ns(s.P90NS), ns(s.UsualP90NS))
	default:
		head += fmt.Sprintf("%s, median %s (usually %s), p90 %s (%s)", s.Kind, ns(s.MedianNS), ns(s.UsualNS), ns(s.P90NS), ns(s.UsualP90NS))
	}
	for _, c := range s.Causes {
		since := func(ns int64) float64 { return float64(ns-m.StartNS) / 1e9 }
		why = append(why, fmt.Sprintf("from %.2f to %.2f s ", since(c.FromNS), since(c.ToNS))+causeText(c))
	}
	if len(why) == 0 {
		why = []string{"nothing that was recorded explains it" + closest(s.Tried)}
		if len(s.Tried) == 0 {
			why[0] += ": there is nothing to compare it with"
		}
	}
	return head, why
}

// closest names what comes nearest to explaining, where that is worth a word.
func closest(tried []heatmap.Cause) string {
	for _, c := range tried {
		if c.Chance < 1 && c.During > 2*c.Else {
			return fmt.Sprintf(" beyond chance; closest: %s, %s and %s at other times, which chance alone shows in %s of cases", c.What, amount(c.During, c.Unit), amount(c.Else, c.Unit), chance(c.Chance))
		}
	}
	return ""
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func causeText(c heatmap.Cause) string {
	return fmt.Sprintf("%s: %s, and %s at other times. Chance alone shows as much in %s of cases.", c.What, amount(c.During, c.Unit), amount(c.Else, c.Unit), chance(c.Chance))
}

// at is a time in seconds since the map's start.
func at(m heatmap.Map, ns int64) string {
	digits := 1
	if m.ColumnNS < 100e6 {
		digits = 2
	}
	return strconv.FormatFloat(float64(ns-m.StartNS)/1e9, 'f', digits, 64)
}

func amount(v float64, unit string) string {
	if strings.HasPrefix(unit, "share") {
		return show(v, signal.Share)
	}
	return show(v, signal.NoUnit) + " " + unit
}

func chance(p float64) string {
	if p < 0.001 {
		return "less than 0.1%"
	}
	return fmt.Sprintf("%.1f%%", 100*p)
}

// heatView is what the template draws. All lengths are in the units of the view box.
type heatView struct {
	Width, Height            float64
	Left, Top, Right, Bottom float64 // of the plot
	PlotWidth, PlotHeight    float64
	YMiddle                  float64
	Title, Subtitle, Desc    string
	Levels                   []heatLevel
	Columns                  []heatColumn
	YTicks, XTicks           []heatTick
	Median, P99              string // path data
	Margin                   string // of the marginal distribution, path data
	MarginLeft               float64
	Bands                    []heatLabel
	Spells                   []heatSpan
	Tracks                   []heatTrack
	Legend                   []heatKey
	LegendTop                float64
	AxisTop                  float64
	Clock                    string
	Lines                    []heatLine
	Empty                    string
}

type heatLevel struct{ Color, Path string }

type heatColumn struct {
	X, Width float64
	Text     string
}

type heatTick struct {
	At   float64
	Text string
}

type heatLabel struct {
	Y, LineY float64
	Text     string
}

type heatSpan struct {
	X, Width, Middle float64
	Number           int
	Explained        bool
}

type heatTrack struct {
	Top, Base, Middle float64
	Path              string
	Marked            string // the part that explains spells
	Known, Unknown    string // base lines: where it was recorded and where not
	What, Most        string
	Text              string // in words
}

type heatKey struct {
	X     float64
	Color string
	Text  string
}

type heatLine struct {
	Y, X float64
	Text string
	Kind string // class
}

// colors are twelve steps of cividis (Nuñez, Anderton, Renslow: Optimizing
// colormaps with consideration for color vision deficiency, PLOS ONE 13(7), 2018),
// which rises evenly in lightness and looks much the same with any kind of colour
// vision. Its darkest part is left out, for the panel is dark.
var colors = [...]string{
	"#123570", "#2a446c", "#41516b", "#555d6d", "#666970", "#777776",
	"#8a8678", "#9e9675", "#b5a76f", "#cdb966", "#e5cb56", "#fee838",
}

const (
	heatWidth, heatLeft, heatTop = 1060.0, 70.0, 84.0
	heatPlotWidth, heatPlot      = 776.0, 360.0
	heatTrackHeight, heatGap     = 22.0, 9.0
	marginWidth                  = 62.0
	lineHeight                   = 18.0
)

func newHeatView(m heatmap.Map) heatView {
	v := heatView{
		Width: heatWidth, Left: heatLeft, Top: heatTop, PlotWidth: heatPlotWidth, PlotHeight: heatPlot,
		Right: heatLeft + heatPlotWidth, Bottom: heatTop + heatPlot, MarginLeft: heatLeft + heatPlotWidth + 6,
		YMiddle: heatTop + heatPlot/2, Title: "Latency over time",
	}
	if m.Requests == 0 {
		v.Empty = strings.Join(m.Notes, "; ")
		v.Desc, v.Height = v.Empty, heatTop+60
		return v
	}
	v.Subtitle = fmt.Sprintf("%s over %s, from %s; a column is %s", plural(int(m.Requests), "request"), span(m), m.Source, ns(m.ColumnNS))
	v.cells(m)
	v.axes(m)
	v.curves(m)
	v.margin(m)
	v.spells(m)
	v.tracks(m)
	v.words(m)
	return v
}

func (v *heatView) x(m heatmap.Map, ns int64) float64 {
	return v.Left + v.PlotWidth*min(float64(ns-m.StartNS)/float64(m.EndNS-m.StartNS), 1)
}

func (v *heatView) y(m heatmap.Map, ns int64) float64 {
	lo, hi := math.Log(float64(m.EdgesNS[0])), math.Log(float64(m.EdgesNS[len(m.EdgesNS)-1]))
	f := (math.Log(float64(ns)) - lo) / (hi - lo)
	return v.Bottom - v.PlotHeight*min(max(f, 0), 1)
}

// level is the colour of a number of requests: by its logarithm, since the tail is
// what one looks for.
func level(n, most int64) int {
	if most <= 1 {
		return len(colors) - 1
	}
	f := math.Log(float64(n)) / math.Log(float64(most))
	return min(int(f*float64(len(colors))), len(colors)-1)
}

func (v *heatView) cells(m heatmap.Map) {
	var most int64
	for _, column := range m.Counts {
		for _, n := range column {
			most = max(most, n)
		}
	}
	paths := make([]strings.Builder, len(colors))
	for c, column := range m.Counts {
		x0, x1 := v.x(m, m.StartNS+int64(c)*m.ColumnNS), v.x(m, m.StartNS+int64(c+1)*m.ColumnNS)
		for row := 0; row < len(column); {
			if column[row] == 0 {
				row++
				continue
			}
			l, end := level(column[row], most), row+1
			for end < len(column) && column[end] > 0 && level(column[end], most) == l {
				end++
			}
			y0, y1 := v.y(m, m.EdgesNS[row]), v.y(m, m.EdgesNS[end])
			fmt.Fprintf(&paths[l], "M%.1f %.1fH%.1fV%.1fH%.1fz", x0, y0, x1, y1, x0)
			row = end
		}
		text := fmt.Sprintf("%s s: %s", at(m, m.StartNS+int64(c)*m.ColumnNS), plural(int(sum(column)), "request"))
		if m.MedianNS[c] >= 0 {
			text += fmt.Sprintf(", median %s, p99 %s", ns(m.MedianNS[c]), ns(m.P99NS[c]))
		}
		v.Columns = append(v.Columns, heatColumn{X: round1(x0), Width: round1(x1 - x0), Text: text})
	}
	for l := range paths {
		if paths[l].Len() > 0 {
			v.Levels = append(v.Levels, heatLevel{colors[l], paths[l].String()})
		}
	}
	last := ""
	for l := range colors {
		least := int64(math.Ceil(math.Pow(float64(most), float64(l)/float64(len(colors))) - 1e-9))
		key := heatKey{X: v.Left + float64(l)*26, Color: colors[l]}
		if text := count(max(1, least)); l%3 == 0 && text != last {
			key.Text, last = text, text
		}
		v.Legend = append(v.Legend, key)
	}
	v.Legend = append(v.Legend, heatKey{X: v.Left + float64(len(colors))*26, Text: count(most)})
}

func sum(ns []int64) (all int64) {
	for _, n := range ns {
		all += n
	}
	return all
}

func round1(f float64) float64 { return math.Round(f*10) / 10 }

func (v *heatView) axes(m heatmap.Map) {
	lo, hi := m.EdgesNS[0], m.EdgesNS[len(m.EdgesNS)-1]
	var ticks []int64
	for _, steps := range [][]float64{{1}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9}} {
		ticks = ticks[:0]
		for p := 1000.0; p <= 1e15; p *= 10 {
			for _, s := range steps {
				if t := int64(p * s); t >= lo && t <= hi {
					ticks = append(ticks, t)
				}
			}
		}
		if len(ticks) >= 4 {
			break
		}
	}
	if len(ticks) < 4 { // a narrow range, which is cut evenly
		step := niceStep(float64(hi-lo) / 5)
		ticks = ticks[:0]
		for t := math.Ceil(float64(lo)/step) * step; t <= float64(hi); t += step {
			ticks = append(ticks, int64(t))
		}
	}
	before := math.Inf(1)
	for _, t := range ticks {
		if y := v.y(m, t); before-y >= 15 { // labels must not touch
			v.YTicks = append(v.YTicks, heatTick{round1(y), ns(t)})
			before = y
		}
	}
	length := float64(m.EndNS-m.StartNS) / 1e9
	step := niceStep(length / 9)
	for i := 0; float64(i)*step <= length*1.0001; i++ {
		t := float64(i) * step
		v.XTicks = append(v.XTicks, heatTick{round1(v.Left + v.PlotWidth*t/length), strconv.FormatFloat(t, 'g', 6, 64)})
	}
	v.Clock = fmt.Sprintf("seconds since %.3f s of CLOCK_MONOTONIC; a request stands where it ended", float64(m.StartNS)/1e9)
}

// niceStep is the least of 1, 2 and 5 times a power of ten that is no less than v.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if p*f >= v*0.9999 {
			return p * f
		}
	}
	return 10 * p
}

// curves are the median and p99 of the columns, with gaps where none ended.
func (v *heatView) curves(m heatmap.Map) {
	path := func(values []int64) string {
		var b strings.Builder
		pen := "M"
		for c, n := range values {
			if n < 0 {
				pen = "M"
				continue
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", pen, v.x(m, m.StartNS+int64(c)*m.ColumnNS+m.ColumnNS/2), v.y(m, n))
			pen = "L"
		}
		return b.String()
	}
	v.Median, v.P99 = path(m.MedianNS), path(m.P99NS)
}

// margin is the distribution of all latencies, beside the plot, with its bands.
func (v *heatView) margin(m heatmap.Map) {
	rows := make([]int64, len(m.EdgesNS)-1)
	var most int64
	for _, column := range m.Counts {
		for r, n := range column {
			rows[r] += n
			most = max(most, rows[r])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "M%.1f %.1f", v.MarginLeft, v.Bottom)
	for r, n := range rows {
		x := v.MarginLeft + marginWidth*float64(n)/float64(most)
		fmt.Fprintf(&b, "L%.1f %.1fV%.1f", x, v.y(m, m.EdgesNS[r]), v.y(m, m.EdgesNS[r+1]))
	}
	fmt.Fprintf(&b, "H%.1fz", v.MarginLeft)
	v.Margin = b.String()
	below := math.Inf(1)
	for _, band := range m.Bands {
		y := v.y(m, band.PeakNS)
		label := min(y, below-16)
		below = label
		text := ns(band.PeakNS)
		if len(m.Bands) > 1 {
			text += " · " + show(band.Share, signal.Share)
		}
		v.Bands = append(v.Bands, heatLabel{Y: round1(label + 4), LineY: round1(y), Text: text})
	}
}

func (v *heatView) spells(m heatmap.Map) {
	for i, s := range m.Spells {
		x0, x1 := v.x(m, s.StartNS), v.x(m, s.EndNS)
		v.Spells = append(v.Spells, heatSpan{X: round1(x0), Width: round1(max(x1-x0, 2)), Middle: round1((x0 + x1) / 2), Number: i + 1, Explained: len(s.Causes) > 0})
	}
}

// tracks are drawn below the plot: all that explain a spell, and of the others
// those that change.
func (v *heatView) tracks(m heatmap.Map) {
	top := v.Bottom + 12
	for _, t := range m.Tracks {
		least, most := math.Inf(1), 0.0
		for _, x := range t.Values {
			if x != nil {
				least, most = min(least, *x), max(most, *x)
			}
		}
		if !named(m, t) && (most < worthDrawing || least > 0.9*most) {
			continue
		}
		base := top + heatTrackHeight
		path, marked := strings.Builder{}, strings.Builder{}
		known, unknown := strings.Builder{}, strings.Builder{}
		for c, x := range t.Values {
			from := m.StartNS + int64(c)*m.ColumnNS
			x0, x1 := v.x(m, from), v.x(m, from+m.ColumnNS)
			if x == nil {
				fmt.Fprintf(&unknown, "M%.1f %.1fH%.1f", x0, base, x1)
				continue
			}
			fmt.Fprintf(&known, "M%.1f %.1fH%.1f", x0, base, x1)
			if *x == 0 {
				continue
			}
			y := base - heatTrackHeight*max(*x/most, 0.02)
			to := &path
			if explains(m, t, from) {
				to = &marked
			}
			fmt.Fprintf(to, "M%.1f %.1fV%.1fH%.1fV%.1fz", x0, base, y, x1, base)
		}
		v.Tracks = append(v.Tracks, heatTrack{
			Top: round1(top), Base: round1(base), Middle: round1((top + base) / 2), Path: path.String(), Marked: marked.String(),
			Known: known.String(), Unknown: unknown.String(), What: t.What, Most: "up to " + amount(most, t.Unit), Text: fmt.Sprintf("%s, up to %s, from %s", t.What, amount(most, t.Unit), t.Source),
		})
		top = base + heatGap
	}
	v.AxisTop = round1(top)
}

// worthDrawing is the least height of a track, in a share of the time, goroutines or
// threads.
const worthDrawing = 0.01

// named reports whether the track is a cause of any spell.
func named(m heatmap.Map, t heatmap.Track) bool {
	if m.Bursts != nil && slices.ContainsFunc(m.Bursts.Causes, func(c heatmap.Cause) bool { return c.Kind == t.Kind && c.Source == t.Source }) {
		return true
	}
	for _, s := range m.Spells {
		for _, c := range s.Causes {
			if c.Kind == t.Kind && c.Source == t.Source {
				return true
			}
		}
	}
	return false
}

// explains reports whether the track is named as a cause of a spell that the column
// is in.
func explains(m heatmap.Map, t heatmap.Track, from int64) bool {
	for _, s := range m.Spells {
		if from+m.ColumnNS <= s.SinceNS || from >= s.EndNS {
			continue
		}
		for _, c := range s.Causes {
			if c.Kind == t.Kind && c.Source == t.Source {
				return true
			}
		}
	}
	return false
}

// mostListed is how many spells are told in words below the picture.
const mostListed = 12

func (v *heatView) words(m heatmap.Map) {
	v.LegendTop = v.AxisTop + 52
	y := v.LegendTop + 50
	desc := []string{v.Subtitle + "."}
	add := func(x float64, kind, text string) {
		for _, line := range wrap(text, int((heatWidth-x-20)/6.6)) {
			v.Lines = append(v.Lines, heatLine{Y: y, X: x, Text: line, Kind: kind})
			y += lineHeight
		}
		desc = append(desc, text)
	}
	for _, text := range heatBands(m) {
		add(v.Left, "soft", text)
	}
	for _, text := range heatRest(m) {
		add(v.Left, "soft", text)
	}
	for i, s := range m.Spells {
		if i == mostListed {
			add(v.Left, "soft", fmt.Sprintf("and %s more", plural(len(m.Spells)-i, "spell")))
			break
		}
		head, why := heatSpell(m, s)
		add(v.Left, "", fmt.Sprintf("%d. %s", i+1, head))
		for _, line := range why {
			add(v.Left+22, "soft", line)
		}
	}
	for _, note := range m.Notes {
		add(v.Left, "soft", note)
	}
	v.Desc = strings.Join(desc, " ")
	v.Height = y + 6
}
