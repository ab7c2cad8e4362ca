from tree_privacy import Album

Album.create('Photos', 'cloud', 'mine.key', lock='homomorphic').grant('friend.key')
