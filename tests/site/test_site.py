"The documentation, opened in a browser that reaches no other host: on a desk, on a telephone, in the dark."

import ast
import functools
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from browser import start

root = Path(__file__).resolve().parent.parent.parent

check = (Path(__file__).parent / 'check.js').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    "Chromium without a window, which finds no host but this one."
    b = start(tmp_path_factory.mktemp('profile'), 'host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1')
    yield b
    b.quit()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    "A function that serves a folder and gives its address."
    servers = []

    def start(folder):
        servers.append(ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{servers[-1].server_port}'

    yield start
    for s in servers:
        s.shutdown()


def show(b, width, dark=False):
    "Make the browser's window a desk's or a telephone's, light or dark."
    b.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    )
    b.execute_cdp_cmd(
        'Emulation.setEmulatedMedia',
        dict(features=[dict(name='prefers-color-scheme', value='dark' if dark else 'light')]),
    )


def complaints(b, address):
    "What is wrong with one page at both widths, and what the console says."
    show(b, 1280)
    b.get(address)
    found = b.execute_script(check, 1280)
    show(b, 390)
    found += b.execute_script(check, 390)
    said = (line['message'] for line in b.get_log('browser') if line['level'] == 'SEVERE')
    return sorted({*found, *(f'console: {message}' for message in said)})


def brightness(b):
    "How bright the page's background is, 0 ... 255."
    return b.execute_script(
        "return Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    )


def search(b, word):
    "The addresses that the page's own search finds for `word`."
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    b.find_element(By.CSS_SELECTOR, 'input[type=search]').send_keys(word)
    def hits(_):
        return b.find_elements(By.CSS_SELECTOR, '.search-result, .search-none')
    return [h.get_attribute('href') for h in WebDriverWait(b, 10).until(hits)]


def public():
    "The public names of each module."
    for p in sorted((root / 'tree_privacy').rglob('[!_]*.py')):
        yield (
            '-'.join(p.relative_to(root / 'tree_privacy').with_suffix('').parts),
            next(
                ast.literal_eval(n.value)
                for n in ast.parse(p.read_text(encoding='utf-8')).body
                if isinstance(n, ast.Assign) and n.targets[0].id == '__all__'
            ),
        )


def docs():
    "The program .ci/docs as a module."
    sys.path.insert(0, str(root / '.ci'))
    loader = SourceFileLoader('ci_docs', str(root / '.ci' / 'docs'))
    module = module_from_spec(spec_from_loader('ci_docs', loader))
    loader.exec_module(module)
    sys.path.remove(str(root / '.ci'))
    return module


@pytest.mark.slow
def test_site(browser, serve, tmp_path):
    "Build the documentation (some three minutes of CPU) and look at every page; .ci/run does it in a stage of its own."
    for n in ('.ci', 'nbs', 'tree_privacy'):
        shutil.copytree(root / n, tmp_path / n, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for n in ('_quarto.yml', 'pyproject.toml', 'settings.ini', 'README.md'):
        shutil.copy(root / n, tmp_path)
    done = subprocess.run([sys.executable, '.ci/docs'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / 'README.md').read_bytes() == (root / 'README.md').read_bytes()
    site = tmp_path / '_docs'
    if not (site / 'katex').exists():
        pytest.skip('npm gave no KaTeX: formulas need a network')
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob('*/*.html'))
    assert {
        p.relative_to(root).with_suffix('.html').as_posix()
        for p in (root / 'nbs').rglob('*.ipynb')
        if '.ipynb_checkpoints' not in p.parts
    } <= set(pages)
    for module, names in public():
        if names:
            assert set(names) <= docs().Page(site / 'api' / f'{module}.html').ids, module
    at = serve(site)
    found = [f'{p}: {c}' for p in [*pages, 'index.html'] for c in complaints(browser, f'{at}/{p}')]
    assert not found, '\n'.join(found)

    show(browser, 1280)
    browser.get(f'{at}/nbs/tree/15_structure.html')
    assert browser.execute_script("return document.querySelectorAll('.katex').length") > 1
    assert any('22_estimator' in h for h in search(browser, 'MergeTree'))
    for width in 1280, 390:
        show(browser, width, dark=True)
        browser.get(f'{at}/nbs/tree/22_estimator.html')
        assert brightness(browser) < 80
        assert (
            browser.execute_script(
                "return getComputedStyle(document.querySelector('main .cell-output-display img')).backgroundColor"
            )
            == 'rgb(255, 255, 255)'
        )
    browser.execute_script("document.querySelector('.quarto-btn-toggle').click()")
    first, header = browser.execute_script(
        "return ['.sidebar-link', '#quarto-header'].map(s => document.querySelector(s).getBoundingClientRect())"
    )
    assert first['top'] >= header['bottom'] and first['width'] > 0
    browser.execute_script("document.querySelector('.quarto-color-scheme-toggle').click()")
    assert brightness(browser) > 200


good = ('<!DOCTYPE html><html lang="en"><head><meta name="viewport" content="width=device-width"><title>A page</title>'
        '<link rel="icon" href="data:,"></head><body><main>{}</main></body></html>')
broken = {
    'overflow': '<p style="width: 700px">Wide</p>',
    'overflow: P': '<div style="overflow-x: clip"><p style="width: 700px">Wide</p></div>',
    'no alt text': '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    'no picture': '<img alt="A dot" src="data:image/gif;base64,">',
    'formula not typeset': '<span class="math inline">x</span>',
    'formula not understood': '<span class="katex-error">x</span>',
    'raw: #|': '<p>#| export</p>',
    'raw: %%slow': '<div class="cell"><pre><code>%%slow an hour</code></pre></div>',
    'raw: :::': '<p>::: note</p>',
    'raw: $$': '<p>$$x$$</p>',
    'another host': '<img alt="A dot" src="http://elsewhere.invalid/a.png">',
    'console': '<script>undefined.x</script>',
}


def test_checks_notice(browser, serve, tmp_path):
    (tmp_path / 'good.html').write_text(
        good.format('<pre>#| export</pre><div style="overflow-x: auto"><p style="width: 700px">Wide</p></div>')
    )
    at = serve(tmp_path)
    assert not complaints(browser, f'{at}/good.html')
    for number, (what, body) in enumerate(broken.items()):
        (tmp_path / f'{number}.html').write_text(good.format(body))
        assert any(c.startswith(what) for c in complaints(browser, f'{at}/{number}.html')), what


def test_broken_link_stops_the_build(tmp_path, monkeypatch):
    d = docs()
    for step in ('prepare', 'render', 'link_symbols', 'add_katex', 'drop_fonts'):
        monkeypatch.setattr(d, step, lambda: None)
    for name, value in dict(root=tmp_path, site=tmp_path).items():
        monkeypatch.setattr(d, name, value)
    monkeypatch.setattr(sys, 'argv', ['docs'])
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.html').write_text('<p id="here"><a href="#here">Here</a>')
    d.main()
    for link in 'nowhere.html', '#nowhere', 'a.html#nowhere':
        (tmp_path / 'b.html').write_text(f'<a href="{link}">There</a>')
        with pytest.raises(SystemExit, match='Broken links'):
            d.main()
