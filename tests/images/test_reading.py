"Reading: every kind of picture, memory that stays bounded, tables of labels that work and that do not."
import base64
import csv
import io
import itertools
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from PIL import Image, ImageOps

from tree_privacy.core import InputError
from tree_privacy.images.hash_layer import label_targets
from tree_privacy.images.reading import (
    MAX_PIXELS,
    labels_from_csv,
    membership,
    open_picture,
    prepare_heif,
    reduced_size,
)

seeds = st.integers(0, 2**32 - 1)
linux = pytest.mark.skipif(sys.platform != 'linux', reason='limits and /proc of Linux')


def few(examples):
    return settings(deadline=None, max_examples=examples)


# Pictures


def plain(file):
    "What `open_picture` should give, without any regard for memory."
    with Image.open(file) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image.convert('RGB')


def odd_pictures(folder):
    "One picture of every odd kind; gives their paths."
    folder.mkdir(parents=True)
    deep = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
    kinds = {
        'grey.jpg': picture(1).convert('L'), 'clear.png': picture(2).convert('RGBA'),
        'print.jpg': picture(3).convert('CMYK'), 'deep.png': deep, 'web.webp': picture(4),
        'line.png': picture(5).convert('1'), 'greyclear.png': picture(6).convert('LA'),
        'dot.png': picture(7).resize((1, 1)), 'float.tif': picture(8).convert('F'), 'ENDING.JPG': picture(9),
        'ENDING2.PnG': picture(10), 'tall.png': picture(11).resize((1, 900)), 'wide.png': picture(12).resize((900, 1)),
    }
    for name, image in kinds.items():
        image.save(folder / name)
    moving = dict(save_all=True, append_images=[picture(98)])
    glass = picture(24).convert('RGBA')
    glass.putalpha(90)
    glass.save(folder / 'glass.webp', lossless=True)
    picture(20).convert('P').save(folder / 'palette.png', transparency=3)
    picture(21).save(folder / 'moving.gif', **moving)
    picture(22).save(folder / 'moving.webp', **moving)
    picture(23).save(folder / 'several.mpo', **moving)
    for i, kind in itertools.product(range(1, 9), ('jpg', 'png', 'webp', 'tif')):
        turned = Image.Exif()
        turned[0x112] = i
        picture(30 + i).save(folder / f'turned{i}.{kind}', exif=turned)
    return sorted(folder.iterdir())


def test_every_kind_of_picture(tmp_path):
    "Each is seen as a person sees it, and nothing that was written about it comes along."
    for path in odd_pictures(tmp_path / 'photos'):
        found = open_picture(path)
        assert found.mode == 'RGB' and (np.asarray(found) == np.asarray(plain(path))).all(), path.name
        assert (np.asarray(open_picture(io.BytesIO(path.read_bytes()))) == np.asarray(found)).all()
        assert not found.info and not dict(found.getexif())
    assert open_picture(tmp_path / 'photos/turned6.jpg').size == (30, 40)


def test_animations_are_seen_by_their_first_frame(tmp_path):
    odd_pictures(tmp_path / 'photos')
    picture(21).save(tmp_path / 'still.gif')
    moving, still = open_picture(tmp_path / 'photos/moving.gif'), open_picture(tmp_path / 'still.gif')
    assert (np.asarray(moving) == np.asarray(still)).all()


@pytest.mark.parametrize('kind', ['jpg', 'mpo', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('turned', [False, True])
def test_large_pictures_come_smaller(kind, turned, tmp_path):
    "Where fewer pixels are wanted: at least as many as wanted, fewer than twice, and what is to be seen is the same."
    more = dict(save_all=True, append_images=[picture(2)]) if kind == 'mpo' else {}
    if turned and kind != 'mpo':
        more['exif'] = Image.Exif()
        more['exif'][0x112] = 6
    picture(1, (1700, 1300)).save(tmp_path / f'large.{kind}', **more)
    small, large = open_picture(tmp_path / f'large.{kind}', 100), open_picture(tmp_path / f'large.{kind}')
    assert 100 <= min(small.size) < 200
    assert abs(small.size[0] / small.size[1] - large.size[0] / large.size[1]) < .02
    one, two = (np.asarray(x.resize((40, 30), Image.Resampling.BOX)).astype(int) for x in (small, large))
    assert np.abs(one - two).mean() < 4


# HEIC of 32 x 16 pixels, the left half red, to be turned by 90 degrees clockwise: it says so in its own box `irot`
# and in EXIF, as telephones do. x265 made it by way of pillow-heif.
HEIC = base64.b85decode(
    '0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0005UZDn*}000000000XXk=`10000000000aA{+700000000000000000000G-+&aV*mgE07O'
    '6l0ssL300001>i_`&00000005-`0ssI200NKz0RR9100000Bme*aIB98aW&i*H00062000$fZf0cy000000RRAKc4ILB0000LX>Mj^0ssI30'
    '0IC2MR;ju000004sdC7Z2$lO00031009PRaB^?}008A_aAR)(004Dpc4I>U18@KU0FVFx0000U@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ'
    '!0009300RIXx&lC90096gLID8-Z~y=U0FVFx0{{R603M(qfd!W8uA1iHA)vs3000bt00093gkk^z00u+>!E?ch0000JV{dG7ZewhC0096E00'
    'w{n000zeb8uw<00000002M$002M$001asY+-N!001BW00031000mG00061|Nr0s00092|Nqbc00062000nhX?SS>000032nYxO000STa&L44'
    '0000PX>e^}0000000001009Pp0s{qvh5!Hn8fkK6W&i*H000004r63<V*mmG0RRC2007Z#WMOmw005yV0k2XSyC{I>{OZ5|oNNE`i{w3os44'
    '&O>h)fq#Q$*O5Ps0wq?QD7!}F&semg_2=R0J**)i>97r+=Xv;{#jz5rGta$_c_B8ER!#VW*ks*uik1y4tp;g65;dio$B{<;_dGZd&QqDxu%T'
    'V}*lqz!=+%ZL_o_@3k<yIt>jei-=w7l2T+a}hu>M_B6!BI^udXu(F8Xx6&fF)MT600006MR;ju002!*04e|g00;m90TKWM0000100sa60000'
    '0'
)


def test_a_stored_heic(tmp_path):
    "It is turned once, not twice, and keeps nothing that was written about it."
    (tmp_path / 'a.heic').write_bytes(HEIC)
    assert HEIC.count(b'irot') == 1 and HEIC.count(b'Exif') == 2
    for file in (tmp_path / 'a.heic', str(tmp_path / 'a.heic'), io.BytesIO(HEIC)):
        found = open_picture(file)
        assert (found.mode, found.size, found.info, dict(found.getexif())) == ('RGB', (16, 32), {}, {})
        assert np.abs(np.asarray(found)[:16].astype(int) - [255, 0, 0]).max() < 4 and np.asarray(found)[16:].min() > 250
    assert open_picture(tmp_path / 'a.heic', 8).size == (8, 16)


@pytest.mark.parametrize('turned', range(1, 9))
def test_heic_is_seen_as_a_jpeg_is(turned, tmp_path):
    "The same picture with the same note about how it is to be turned, in both formats."
    prepare_heif()
    image = picture(30 + turned, (80, 60))
    exif = Image.Exif()
    exif[0x112] = turned
    image.info['exif'] = exif.tobytes()
    image.save(tmp_path / 'a.heic', quality=95)
    image.save(tmp_path / 'a.jpg', quality=95, exif=exif)
    one, two = (np.asarray(open_picture(tmp_path / name)).astype(int) for name in ('a.heic', 'a.jpg'))
    assert one.shape == two.shape == ((60, 80, 3) if turned < 5 else (80, 60, 3)) and np.abs(one - two).mean() < 4


@few(200)
@given(st.lists(st.tuples(st.integers(12, len(HEIC) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(HEIC)))
def test_damaged_heic(changes, length):
    "It opens, or it is refused as any damaged picture is."
    data = bytearray(HEIC)
    for place, byte in changes:
        data[place] = byte
    for damaged in (bytes(data), bytes(data[:length])):
        try:
            assert open_picture(io.BytesIO(damaged), 8).mode == 'RGB'
        except (OSError, ValueError, SyntaxError):  # what `decode` skips
            pass


@few(60)
@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 2000))
def test_reduced_sizes(width, height, wanted):
    "The shorter side has what is wanted, or what there is; the proportions stay."
    small = reduced_size((width, height), wanted)
    assert min(small) == min(width, height, wanted) and all(1 <= s <= max(width, height) for s in small)
    assert abs(max(small) - max(width, height) * min(small) / min(width, height)) <= .51


def png_of_zeros(width, height):
    "A PNG file of one transparent colour, of two channels; about a thousandth of what it unpacks to."
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    squeeze, row = zlib.compressobj(1), bytes(1 + 2 * width)
    data = b''.join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    header = struct.pack('>IIBBBBB', width, height, 8, 4, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


IN_LITTLE_MEMORY = '''
import resource, sys
from pathlib import Path
from PIL import Image
from tree_privacy.images.reading import open_picture
Image.init()
have = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have + int(sys.argv[2]), have + int(sys.argv[2])))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
print(open_picture(sys.argv[1], 112).size)
'''


def in_little_memory(path, megabytes):
    "Open a picture in a process that may use so many megabytes for it."
    command = [sys.executable, '-c', IN_LITTLE_MEMORY, str(path), str(megabytes * 10**6)]
    environment = dict(os.environ, OPENBLAS_NUM_THREADS='1')
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@linux
def test_a_small_file_does_not_fill_the_memory(tmp_path):
    "A PNG of under a megabyte that unpacks to 169 megapixels takes little more than those: it took 2.6 GB once."
    (tmp_path / 'bomb.png').write_bytes(png_of_zeros(13_000, 13_000))
    assert (tmp_path / 'bomb.png').stat().st_size < 2_000_000
    done = in_little_memory(tmp_path / 'bomb.png', 1100)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == '(113, 113)\n'


@linux
def test_a_very_large_jpeg_is_never_unpacked_whole(tmp_path):
    "210 megapixels are more than are ever decoded, but not where a JPEG is wanted smaller."
    Image.new('L', (15_000, 14_000), 90).save(tmp_path / 'large.jpg', quality=30)
    done = in_little_memory(tmp_path / 'large.jpg', 150)
    assert done.returncode == 0, done.stderr[-2000:]
    with pytest.raises(InputError, match='a JPEG picture of 15000 x 14000 pixels came: wanted at most 178 megapixels'):
        open_picture(tmp_path / 'large.jpg')
    with open(tmp_path / 'large.jpg', 'rb') as file:
        assert abs(open_picture(file, 112).getpixel((0, 0))[0] - 90) < 3


@pytest.mark.parametrize('size', [None, 112])
@pytest.mark.parametrize('kind', ['PNG', 'GIF', 'TIFF', 'WebP', 'BMP', 'progressive JPEG'])
def test_pictures_that_would_fill_the_memory_are_refused(kind, size):
    "Before anything is decoded, whatever the format: only the header says how large they are."
    file = io.BytesIO()
    if kind == 'progressive JPEG':
        picture(1).save(file, 'JPEG', progressive=True)
        data = file.getvalue()
        start = data.index(b'\xff\xc2') + 5
        data = data[:start] + struct.pack('>HH', 14_000, 15_000) + data[start + 4:]
    elif kind == 'WebP':
        picture(1).convert('RGBA').save(file, 'WebP', lossless=True)
        data = file.getvalue()
        at = data.index(b'VP8L') + 9
        bits = int.from_bytes(data[at:at + 4], 'little') >> 28 << 28 | 16_382 << 14 | 16_382
        data = data[:at] + bits.to_bytes(4, 'little') + data[at + 4:]
    else:
        Image.new('1' if kind in ('PNG', 'TIFF', 'BMP') else 'L', (15_000, 15_000)).save(file, kind)
        data = file.getvalue()
    with pytest.raises((InputError, OSError)) as refused:
        open_picture(io.BytesIO(data), size)
    if kind != 'WebP':  # libwebp refuses this one by itself
        assert 'wanted at most 178 megapixels' in str(refused.value) and 'save a smaller copy' in str(refused.value)
    assert 15_000 ** 2 > MAX_PIXELS


@pytest.mark.parametrize('data', [b'', b'hello', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'])
def test_files_that_are_no_pictures(data, tmp_path):
    (tmp_path / 'a.png').write_bytes(data)
    for file in (tmp_path / 'a.png', io.BytesIO(data)):
        with pytest.raises((OSError, SyntaxError)):
            open_picture(file)
    with pytest.raises(OSError):
        open_picture(tmp_path / 'missing.png')


def test_pictures_cut_short(tmp_path):
    "Half a file is an error, not half a picture."
    for name, form in (('a.png', 'PNG'), ('a.jpg', 'JPEG'), ('a.webp', 'WebP'), ('a.gif', 'GIF')):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(file, form)
        (tmp_path / name).write_bytes(file.getvalue()[:len(file.getvalue()) // 2])
        with pytest.raises((OSError, SyntaxError, ValueError)):
            open_picture(tmp_path / name)


# Tables of labels


TABLES = {
    'plain': 'name,label\n{rows}', 'bom': '\ufeffname,label\n{rows}', 'no_end': 'name,label\n{cut}',
    'blank': 'name,label\n\n\n{rows}\n\n', 'more': 'name,label,who,when\n{wide}', 'quoted': '"name","label"\n{quoted}',
    'spaces': 'name , label\n{spaces}', 'double': 'name,label\n{rows}{rows}',
    'other': 'one,two\n{rows}unknown/9.png,z\n',
}


def tables(names):
    "CSV files that all say the same of some pictures, as bytes: the category of each is the first letter of its name."
    def joined(form):
        return ''.join(form.format(n, n[0]) for n in names)
    parts = dict(rows=joined('{},{}\n'), cut=joined('{},{}\n').rstrip('\n'), wide=joined('{},{},me,"1, 2"\n'),
                 quoted=joined('"{}","{}"\n'), spaces=joined(' {} ,  {}\t\n'))
    for kind, form in TABLES.items():
        text = form.format(**parts)
        for ending in ('\n', '\r\n', '\r'):
            yield f'{kind} {ending!r}', text.replace('\n', ending).encode()
    yield 'folders', b'name,label\na,a\nb/,b\nc,c\n'
    yield 'huge', ('name,label\n' + ''.join(f'nowhere/{i}.png,x\n' for i in range(100_000)) + parts['rows']).encode()


def test_tables_of_labels_that_work(tmp_path):
    "Whatever wrote them: any ends of lines, quotes, blanks, more columns, rows twice or for other pictures."
    names, wrong = [f'{"abc"[i % 3]}/{i:02}.png' for i in range(9)], []
    for kind, data in tables(names):
        (tmp_path / 'labels.csv').write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                found = labels_from_csv(tmp_path / 'labels.csv', names)
            except Exception as error:
                found = error
        if found != [(n[0],) for n in names]:
            wrong.append(f'{kind}: {found}')
    assert not wrong, '\n'.join(wrong)


NAMES = ['a, b.png', 'say "hi".png', 'new\nline.png', ' in front.png', 'behind .png', '中文/照片.png',
         'next\x85line.png', 'line\u2028separator.png', 'form\x0cfeed.png']


@pytest.mark.parametrize('name', NAMES)
def test_labels_of_odd_names(name, tmp_path):
    "A name or a label of any letters comes back, where Python's writer of CSV wrote the table."
    with open(tmp_path / 'labels.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([('name', 'label'), (name, 'one'), ('other.png', f'x{name}x')])
    assert labels_from_csv(tmp_path / 'labels.csv', [name, 'other.png']) == [('one',), (f'x{name}x',)]


def bad_tables(names):
    "Files that are no table of labels for a hash layer, and a word of the refusal."
    rows = [f'{n},{n[0]}\n' for n in names]
    every = ''.join(rows)
    text = {
        'empty': ('', '6 of 6 pictures have no label'), 'header': ('name,label\n', '6 of 6 pictures have no label'),
        'blank': ('\n\n\n', '6 of 6 pictures have no label'),
        'one_column': ('name\n' + ''.join(n + '\n' for n in names), 'line 2'),
        'semicolons': ('name;label\n' + every.replace(',', ';'), 'line 2'),
        'tabs': ('name\tlabel\n' + every.replace(',', '\t'), 'line 2'),
        'no_label': ('name,label\n' + rows[0] + f'{names[1]},\n', 'line 3'),
        'blank_label': ('name,label\n' + f'{names[0]},  \n', 'line 2'), 'no_name': ('name,label\n,cat\n', 'line 2'),
        'nothing': ('name,label\n,\n', 'line 2'),
        'others': ('name,label\nx/1.jpg,cat\nx/2.jpg,dog\n', '6 of 6 pictures have no label'),
        'missing': ('name,label\n' + ''.join(rows[:-1]), names[-1]),
        'no_header': (every, names[0]),
        'open_quote': ('name,label\n"' + every, 'line 2'),
        'one_category': ('name,label\n' + ''.join(f'{n},cat\n' for n in names), 'one category only'),
        'one_picture': ('name,label\n' + every + f'{names[0]},cat\n', "'cat' has 1 picture"),
        'wide': ('name,label\n' + 'x' * 200_000 + ',cat\n', 'cannot be read as CSV'),
        'long': ('name,label\n' + 'x' * 100_000, 'line 2'), 'steering': ('name,label\n\x1b[31mred\n', 'line 2'),
        'zeros': ('\0' * 1000, '6 of 6 pictures'), 'huge': ('name,label\n' + 'a/x.png,y\n' * 200_000, 'have no label'),
    }
    data = {k: (v.encode(), keyword) for k, (v, keyword) in text.items()}
    data['binary'] = random.Random(0).randbytes(5000), 'cannot be read as CSV'
    data['utf16'] = ('name,label\n' + every).encode('utf-16'), 'cannot be read as CSV'
    data['latin'] = b'name,label\na,caf\xe9\n', 'cannot be read as CSV'
    data['picture'] = b'\x89PNG\r\n\x1a\n' + bytes(100), 'cannot be read as CSV'
    return data


SIX = [f'{"abc"[i % 3]}/{i:02}.png' for i in range(6)]


@pytest.mark.filterwarnings('ignore:.*are no pictures here')
@pytest.mark.parametrize('kind', bad_tables(SIX))
def test_tables_of_labels_that_are_none(kind, tmp_path):
    "Each is refused in one short line that names what is wrong."
    data, keyword = bad_tables(SIX)[kind]
    (tmp_path / 'labels.csv').write_bytes(data)
    with pytest.raises(InputError) as refused:
        label_targets(labels_from_csv(tmp_path / 'labels.csv', SIX), 6)
    assert keyword in str(refused.value) and len(str(refused.value)) < 2000 and '\x1b' not in str(refused.value)


def test_tables_of_labels_that_are_not_there(tmp_path):
    (tmp_path / 'file').write_text('x')
    for path in (tmp_path / 'missing.csv', tmp_path, tmp_path / 'file/x.csv', ''):
        with pytest.raises(InputError, match='cannot be read as CSV'):
            labels_from_csv(path, SIX)


name_part = st.text(st.characters(codec='utf-8', exclude_characters='/\0\r'), min_size=1, max_size=6)
name_parts = st.lists(name_part.filter(lambda x: x not in ('.', '..')), min_size=1, max_size=3)
paths = name_parts.map(lambda parts: '/'.join(parts) + '.png')
some_label = st.text(st.characters(codec='utf-8', exclude_characters='\0\r'), min_size=1, max_size=6)
several_labels = st.sets(some_label.filter(lambda x: x.strip() == x), min_size=1, max_size=3)


def as_csv(rows, **dialect):
    "Rows as CSV, with a header."
    text = io.StringIO()
    csv.writer(text, **dialect).writerows([('name', 'label'), *rows])
    return text.getvalue()


@few(100)
@given(st.dictionaries(paths, several_labels, min_size=1, max_size=6), st.sampled_from(['\n', '\r\n']),
       st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(['utf-8', 'utf-8-sig']), seeds)
def test_labels_from_csv_come_back(tmp_path_factory, wanted, ending, quoting, encoding, seed):
    "Whatever names and labels are made of: what Python's own writer of CSV wrote is read back, in any order."
    def is_folder(name):
        return any(other != name and f'{name}/'.startswith(f'{other}/') for other in wanted)
    wanted = {k: v for k, v in wanted.items() if not is_folder(k)}
    rows = [(name, label) for name, labels in wanted.items() for label in labels]
    np.random.default_rng(seed).shuffle(rows)
    path = tmp_path_factory.getbasetemp() / 'labels.csv'
    path.write_bytes(as_csv(rows, lineterminator=ending, quoting=quoting).encode(encoding))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert labels_from_csv(path, list(wanted)) == [tuple(sorted(s)) for s in wanted.values()]


@few(40)
@given(seeds, st.integers(1, 12))
def test_labels_of_folders(tmp_path_factory, seed, n):
    "A picture has the labels of its own row and of every folder above it; rows for nothing are a warning."
    rng, path = np.random.default_rng(seed), tmp_path_factory.getbasetemp() / 'folders.csv'
    names = sorted({'/'.join(rng.choice(list('ab'), rng.integers(1, 4)).tolist() + [f'{i}.jpg']) for i in range(n)})
    above = {p for name in names for p in itertools.accumulate(name.split('/'), '{}/{}'.format)}
    rows = [(p, str(rng.integers(3))) for p in sorted(above) for _ in range(rng.integers(0, 3))]
    rows += [(p, 'all') for p in sorted({n.split('/')[0] for n in names})]
    slashed = [(p + '/' * (rng.random() < .3 and '.jpg' not in p), label) for p, label in rows]
    path.write_text(as_csv([*slashed, ('missing', 'x')]))
    with pytest.warns(UserWarning, match='1 names .* for example missing'):
        got = labels_from_csv(path, names)
    wanted = [{label for p, label in rows if f'{name}/'.startswith(f'{p}/')} for name in names]
    assert got == [tuple(sorted(labels)) for labels in wanted]


# Labels as a table


words = st.text(st.characters(codec='utf-8'), max_size=5)


@few(60)
@given(st.lists(st.sets(words, max_size=4), max_size=12), st.sampled_from([list, tuple, set, frozenset]))
def test_membership_is_the_intersection_of_sets(several, kind):
    "Two pictures share a column exactly where their sets of labels meet, also for labels of other pictures."
    table, kinds = membership([kind(s) for s in several])
    assert kinds == sorted(set().union(*several)) and table.shape == (len(several), len(kinds)) and table.dtype == bool
    assert [{k for k, has in zip(kinds, row, strict=True) if has} for row in table] == several
    some = [s | {'another'} for s in several]
    assert (membership(some, kinds)[0] == table).all() or 'another' in kinds
    meet = (membership(some, kinds)[0].astype(int) @ table.T > 0).tolist()
    assert meet == [[bool(a & b & set(kinds)) for b in several] for a in some]
    assert membership(table)[0] is table and membership(table)[1] == list(range(len(kinds)))


@few(40)
@given(st.lists(words, min_size=1, max_size=10))
def test_one_label_is_a_set_of_one(labels):
    "A label by itself, in an array of strings or in a set says the same."
    wanted = membership([{x} for x in labels])
    for other in (labels, tuple(labels), np.array(labels, object)):
        got = membership(other)
        assert (got[0] == wanted[0]).all() and got[1] == wanted[1]


def test_tables_that_are_none():
    for table in (np.eye(6), np.eye(6, dtype=int)):
        with pytest.raises(InputError, match='wanted n strings'):
            membership(table)
