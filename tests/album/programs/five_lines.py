from tree_privacy import Album

album = Album.create('Photos', 'cloud', 'mine.key')
found = album.search('cat.png', k=3)
print(found)
found.save('found')
