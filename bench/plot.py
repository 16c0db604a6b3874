"""Draws the table of ./dev bench as an SVG: a group of bars a row, each bar split into user and kernel time."""
from xml.sax.saxutils import escape

import peers

COLOURS = {"floor": "#8a8f98", "nginx": "#2f9e6e", "haproxy": "#4673c9", "moongate": "#d9622b"}
WIDTH, LABEL, BAR, GAP, GROUP = 860, 190, 20, 5, 44


def svg(rows):
    """`rows` is a list of (title, {peer: result}), results as compare.py writes them."""
    longest = max((r["cpu_us"] for _, results in rows for r in results.values()), default=1)
    scale = (WIDTH - LABEL - 170) / longest
    out, y = [], 64
    for title, results in rows:
        out.append(f'<text x="16" y="{y + 13}" class="row">{escape(title)}</text>')
        y += 24
        for peer, result in results.items():
            user, total = result["cpu_user_us"] * scale, result["cpu_us"] * scale
            out.append(f'<text x="{LABEL - 8}" y="{y + 15}" class="peer">{escape(peers.NAMES[peer])}</text>')
            out.append(f'<rect x="{LABEL}" y="{y}" width="{user:.1f}" height="{BAR}" fill="{COLOURS[peer]}"/>')
            out.append(f'<rect x="{LABEL + user:.1f}" y="{y}" width="{total - user:.1f}" height="{BAR}" '
                       f'fill="{COLOURS[peer]}" fill-opacity="0.55"/>')
            ratio = f' ({result["ratio_floor"]:.2f} × floor)' if peer != "floor" and result.get("ratio_floor") else ""
            out.append(f'<text x="{LABEL + total + 6:.1f}" y="{y + 15}">{result["cpu_us"]:.2f} µs{ratio}</text>')
            y += BAR + GAP
        y += GROUP - 24
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">\n'
            '<style>text { font: 13px sans-serif; fill: #222 } .row { font-weight: bold } '
            '.peer { text-anchor: end } .title { font: bold 16px sans-serif } .note { fill: #666 }</style>\n'
            '<rect width="100%" height="100%" fill="#fff"/>\n'
            '<text x="16" y="26" class="title">Processor time a request of the serving process</text>\n'
            '<text x="16" y="46" class="note">one worker on one core, 64 connections; dark: user space, '
            'light: kernel; shorter is better</text>\n' + "\n".join(out) + "\n</svg>\n")
