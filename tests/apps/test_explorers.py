"""The explorers in a real browser: a real JupyterLab and a real Voilà, driven by Selenium.

Skipped where Chromium, its driver or Selenium is missing. TREE_PRIVACY_SHOTS=FOLDER keeps screenshots.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip('selenium')
from browser import free_port, start
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

root = Path(__file__).resolve().parent.parent.parent
TREE, PROTOCOL = '85_tree_explorer.ipynb', '86_protocol_explorer.ipynb'


@contextmanager
def serving(*command, path, folder):
    "The address of a server that runs while this does."
    port = free_port()
    log = open(folder / 'server.log', 'w')
    env = dict(
        os.environ,
        JUPYTER_CONFIG_DIR=str(folder / 'config'),
        JUPYTER_DATA_DIR=str(folder / 'data'),
        JUPYTER_RUNTIME_DIR=str(folder / 'runtime'),
        PYTHONPATH=str(root),
        TQDM_DISABLE='1',
    )
    process = subprocess.Popen(
        [sys.executable, '-m', *(c.format(port=port) for c in command)],
        cwd=folder,
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=120).close()
                break
            except OSError:
                assert process.poll() is None, (folder / 'server.log').read_text()
                time.sleep(0.1)
        yield f'http://127.0.0.1:{port}'
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A folder with the two notebooks, and pictures to upload."
    from tree_privacy.images.photos import digits

    home = tmp_path_factory.mktemp('explorer')
    for name in (TREE, PROTOCOL):
        shutil.copy(root / 'nbs/apps' / name, home)
    digits()[1500].resize((64, 64)).save(home / 'seven.png')
    (home / 'no.png').write_text('not a picture')
    return home


@pytest.fixture
def browser():
    with tempfile.TemporaryDirectory() as profile:
        b = start(profile, 'window-size=1400,1400')
        try:
            yield b
        finally:
            b.quit()


class Page:
    "What a person does with an explorer: reads its text, and moves what has a name."

    def __init__(self, browser):
        self.browser = browser

    def wait(self, what, seconds=300, why=''):
        return WebDriverWait(self.browser, seconds, 0.05).until(lambda _: what(), why or str(what))

    def find(self, css, text=None, within=None):
        found = (within or self.browser).find_elements(By.CSS_SELECTOR, css)
        return next((e for e in found if text is None or text in (e.text or e.get_attribute('title') or '')), None)

    def html(self, words):
        "The panel of HTML that has these words, as text, or an empty string."
        return next(
            (
                t
                for e in self.browser.find_elements(By.CSS_SELECTOR, '.widget-html-content')
                if words in (t := e.get_attribute('innerHTML'))
            ),
            '',
        )

    def named(self, name):
        "The control with this name."
        control = self.wait(
            lambda: next(
                (
                    e
                    for e in self.browser.find_elements(By.CSS_SELECTOR, '.widget-inline-hbox:not(.widget-html)')
                    if name == e.find_element(By.CSS_SELECTOR, '.widget-label').text
                ),
                None,
            ),
            why=name,
        )
        self.browser.execute_script('arguments[0].scrollIntoView({block: "center"})', control)
        return control

    def slide(self, name, *keys):
        "Move a slider with the keyboard."
        handle = self.named(name).find_element(By.CSS_SELECTOR, '[role=slider]')
        handle.send_keys(*keys)
        return handle

    def choose(self, name, value):
        "Choose from a list, as the keyboard would."
        Select(self.named(name).find_element(By.TAG_NAME, 'select')).select_by_visible_text(value)

    def upload(self, file):
        "Give the upload button a file. The browser's own dialogue is left out: its hidden input is shown instead."
        self.browser.execute_script(
            'HTMLInputElement.prototype.click = function() '
            '{ if (this.type === "file") { this.id = "chosen"; document.body.append(this) } }'
        )
        button = self.find('button.widget-upload')
        self.browser.execute_script('arguments[0].click()', button)
        self.browser.find_element(By.ID, 'chosen').send_keys(str(file))

    def shot(self, name):
        if keep := os.environ.get('TREE_PRIVACY_SHOTS'):
            self.browser.save_screenshot(f'{keep}/{name}.png')


def play_tree(page, where):
    "Move every slider of the tree explorer, and read what the page shows."
    def tree():
        return page.html('aria-label="Tree by the rule')
    def said():
        return re.search('aria-label="([^"]*)"', tree())[1]
    page.wait(tree)
    assert 'rule checked: ' in said()
    height = int(re.search(r'height (\d+)', said())[1])
    page.shot(f'{where}-1-tree')
    took = {}

    def change(name, act, shows):
        before, start = tree(), time.perf_counter()
        act()
        page.wait(lambda: tree() != before and shows(), why=f'{name}: {said()}')
        took[name] = round(1000 * (time.perf_counter() - start))

    change(
        'nodes',
        lambda: page.slide('nodes', Keys.ARROW_RIGHT, Keys.ARROW_RIGHT),
        lambda: '<td style="padding:1px 7px;text-align:right">5</td>' in page.html('<th'),
    )
    change('query', lambda: page.slide('query', Keys.PAGE_UP), lambda: 'walk of query 0 ' not in said())
    change('threshold', lambda: page.slide('threshold', Keys.ARROW_LEFT), lambda: '0.89' in page.html('recall@10'))
    change(
        'lower threshold',
        lambda: page.slide('lower, less by', Keys.ARROW_RIGHT),
        lambda: '0.83' in page.html('recall@10'),
    )
    change('height gap', lambda: page.slide('height gap', Keys.ARROW_RIGHT), lambda: True)
    change(
        'children',
        lambda: page.slide('children', Keys.ARROW_LEFT),
        lambda: int(re.search(r'height (\d+)', said())[1]) > height,
    )
    change('rule', lambda: page.choose('rule', 'original'), lambda: 'rule original: ' in said())
    assert page.named('height gap').find_element(By.CSS_SELECTOR, '[role=slider]').get_attribute(
        'disabled'
    ) is not None or 'disabled' in page.named('height gap').get_attribute('innerHTML')
    change(
        'categories',
        lambda: page.slide('categories', Keys.HOME),
        lambda: int(re.search(r'(\d+) leaves', said())[1]) < 300,
    )
    page.shot(f'{where}-2-moved')
    print(where, 'milliseconds from the key to the page:', json.dumps(took))


def play_protocol(page, folder, where):
    "Ask under several locks, play the attack, upload a picture and something else."
    def desk():
        return page.html('The cloud sees')
    page.wait(desk)
    assert 'scores it computed: none' not in desk() and 'ids it learnt: none' not in desk()
    button = page.find('button.widget-toggle-button', 'play the attack')
    page.browser.execute_script('arguments[0].scrollIntoView({block: "center"})', button)
    button.send_keys(Keys.ENTER)
    page.wait(lambda: '100% of these' in page.html('The cloud calculates'))
    page.shot(f'{where}-3-attack')
    page.choose('lock', 'sealed')
    page.wait(lambda: 'exact distances</b>: nothing' in page.html('The cloud calculates'))
    assert 'ids it learnt: none' in desk()
    page.choose('lock', 'homomorphic')
    page.wait(lambda: 'bytes up' in desk() and 'scores it computed: none' in desk())
    page.choose('fetch the results', 'direct')
    page.wait(lambda: re.search('fetched together</b>: (100|[5-9]0)% of these', page.html('The cloud calculates')))
    page.shot(f'{where}-4-homomorphic')
    before = desk()
    page.upload(folder / 'seven.png')
    page.wait(lambda: desk() not in ('', before))
    page.shot(f'{where}-5-uploaded')
    page.upload(folder / 'no.png')
    page.wait(lambda: page.html('cannot be read as a picture'))
    page.slide('photograph', Keys.ARROW_RIGHT)
    page.wait(desk)
    assert not [
        m
        for m in page.browser.get_log('browser')
        if m['level'] == 'SEVERE' and not re.search('favicon|cdn.jsdelivr.net', m['message'])
    ]  # Voilà wants an icon font from a network; nothing of ours does


def run_all_cells(page, address, name):
    "Open a notebook in JupyterLab, and run it by the menu."
    page.browser.get(f'{address}/lab/tree/{name}?reset')
    page.wait(lambda: page.find('.jp-Notebook .jp-Cell'))
    page.wait(lambda: page.find('.lm-MenuBar-itemLabel', 'Run')).click()
    page.wait(lambda: page.find('.lm-Menu-itemLabel', 'Run All Cells')).click()
    page.wait(lambda: page.find('.jp-Notebook-ExecutionIndicator[data-status=busy]'))
    page.wait(lambda: page.find('.jp-Notebook-ExecutionIndicator[data-status=idle]'), 500)


@pytest.mark.slow
def test_jupyterlab(browser, folder):
    "Run all cells by the menu, and play."
    lab = (
        'jupyterlab --no-browser --port={port} --ServerApp.token= --ServerApp.password= '
        '--ServerApp.disable_check_xsrf=True --ServerApp.allow_root=True'
    ).split()
    with serving(*lab, path='/api', folder=folder) as address:
        page = Page(browser)
        run_all_cells(page, address, TREE)
        play_tree(page, 'lab')
        run_all_cells(page, address, PROTOCOL)
        play_protocol(page, folder, 'lab')


@pytest.mark.slow
def test_voila(browser, folder):
    "The same as pages of their own."
    more = '--no-browser', '--port={port}', '--show_tracebacks=True'
    for name in (TREE, PROTOCOL):
        with serving('voila', name, *more, path='/voila/static/favicon.ico', folder=folder) as address:
            browser.get(address)
            if name == TREE:
                play_tree(Page(browser), 'voila')
                browser.get('about:blank')  # before its server ends
                browser.get_log('browser')
            else:
                play_protocol(Page(browser), folder, 'voila')
