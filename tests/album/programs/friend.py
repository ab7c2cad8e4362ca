from multiprocessing.connection import Client

from tree_privacy import Album


class Line:
    cloud = Client('cloud.socket')

    def send(self, request):
        self.cloud.send_bytes(request)
        return self.cloud.recv_bytes()


line = Line()
print(Album.open(line, 'friend.key').search('cat.png', k=3))
line.cloud.send_bytes(b'')
