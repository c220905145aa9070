/** Type-checks each ```ts block of README.md and docs/ as written: what runs may still be a type error to who copies it. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { docsBlocks, readmeBlocks, root } from './blocks.ts'
import type { Block } from './blocks.ts'

/** What the compiler says of the blocks, each error behind the place of its block and the line inside it. */
function typeErrors(blocks: readonly Block[]): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'langevin-docs-'))
  try {
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
    for (const [i, { code }] of blocks.entries()) writeFileSync(path.join(folder, `${i}.mts`), `${code.replaceAll("from '../", `from '${root}/`)}\nexport {}\n`)
    const entries = Object.fromEntries(['nn', 'diffusion', 'kernels', 'testing'].map((name) => [`langevin/${name}`, [path.join(root, name, 'index.ts')]]))
    const compilerOptions = {
      rootDir: '/', paths: { langevin: [path.join(root, 'engine/index.ts')], ...entries }, typeRoots: [path.join(root, 'node_modules/@types')],
      noUnusedLocals: false, rewriteRelativeImportExtensions: false, allowImportingTsExtensions: true, isolatedDeclarations: false, declaration: false,
    }
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ extends: path.join(root, 'tsconfig.json'), compilerOptions, include: ['*.mts'], exclude: [] }))
    execFileSync(path.join(root, 'node_modules/.bin/tsc'), ['-p', folder, '--pretty', 'false'], { cwd: folder, encoding: 'utf8', stdio: 'pipe' })
    return []
  } catch (error) {
    const output = String((error as { stdout?: unknown }).stdout ?? error)
    return output.trim().split('\n').map((line) => line.replace(/^(\d+)\.mts/, (_, i) => blocks[Number(i)]?.name ?? line))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('every block of code in README.md and docs/ is type-correct', () => {
  const blocks = [...readmeBlocks(), ...docsBlocks()]
  expect(blocks.length).toBeGreaterThan(10)
  expect(typeErrors(blocks)).toEqual([])
}, 120_000)

test('a wrong block is reported where it stands', () => {
  const code = "import { tensor } from 'langevin'\nconst n: string = tensor([1]).shape.length\n"
  expect(typeErrors([{ name: 'docs/a.md:7', code, runs: true }])).toEqual(["docs/a.md:7(2,7): error TS2322: Type 'number' is not assignable to type 'string'."])
}, 120_000)
