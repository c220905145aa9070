/** Draws docs/diffusion.svg, the nouns of langevin/diffusion and what is made of what. Run: node scripts/picture.ts */
import { writeFileSync } from 'node:fs'

interface Box {
  readonly x: number
  readonly y: number
  readonly name: string
  /** What it says, line by line. */
  readonly says: readonly string[]
}

const [width, height] = [200, 64]
const boxes = {
  network: { x: 20, y: 20, name: 'network', says: ['x, time, conditions → output'] },
  parameterization: { x: 20, y: 130, name: 'parameterization', says: ['what the output means:', 'ε, x₀, v, flow, score, EDM'] },
  denoiser: { x: 290, y: 75, name: 'denoiser', says: ['x at a level → x₀ and ε'] },
  guidance: { x: 290, y: 185, name: 'guidance', says: ['a denoiser of a denoiser'] },
  path: { x: 20, y: 240, name: 'path', says: ['t → (α, σ) of', 'x = α·x₀ + σ·ε'] },
  levels: { x: 290, y: 295, name: 'levels', says: ['which of them the', 'steps visit'] },
  sampler: { x: 560, y: 75, name: 'sampler', says: ['a step from one level', 'to the next'] },
  sample: { x: 560, y: 240, name: 'sample()', says: ['seeds → images: the loop,', 'its noise and its memory'] },
} as const satisfies Readonly<Record<string, Box>>
const arrows: readonly (readonly [keyof typeof boxes, keyof typeof boxes])[] = [['network', 'denoiser'], ['parameterization', 'denoiser'], ['denoiser', 'guidance'], ['path', 'levels'], ['guidance', 'sample'], ['levels', 'sample'], ['sampler', 'sample']]

const middle = ({ x, y }: Box): readonly [number, number] => [x + width / 2, y + height / 2]

/** Where the line from the middle of a box towards a point leaves it. */
function edge(box: Box, [px, py]: readonly [number, number]): readonly [number, number] {
  const [cx, cy] = middle(box)
  const share = Math.min(width / 2 / Math.abs(px - cx), height / 2 / Math.abs(py - cy))
  return [cx + (px - cx) * share, cy + (py - cy) * share]
}

const text = (x: number, y: number, style: string, words: string): string => `<text x="${x}" y="${y}" class="${style}">${words}</text>`
const drawn = [
  ...Object.values<Box>(boxes).flatMap((box) => [
    `<rect x="${box.x}" y="${box.y}" width="${width}" height="${height}" rx="8"/>`,
    text(box.x + 12, box.y + 21, 'name', box.name),
    ...box.says.map((line, i) => text(box.x + 12, box.y + 39 + 15 * i, 'says', line)),
  ]),
  ...arrows.map(([from, to]) => {
    const [[x1, y1], [x2, y2]] = [edge(boxes[from], middle(boxes[to])), edge(boxes[to], middle(boxes[from]))]
    return `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" marker-end="url(#tip)"/>`
  }),
]
const style = 'rect{fill:#f6f8fa;stroke:#57606a}line{stroke:#57606a;stroke-width:1.5}.name{font:bold 14px sans-serif;fill:#24292f}.says{font:12px sans-serif;fill:#57606a}'
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 379" width="780" height="379" role="img" aria-label="A network and a parameterization make a denoiser, a path gives levels; sample takes both and a sampler">
<style>${style}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>
<rect width="780" height="379" style="fill:#fff;stroke:none"/>
${drawn.join('\n')}
</svg>
`
writeFileSync(new URL('../docs/diffusion.svg', import.meta.url), svg)
