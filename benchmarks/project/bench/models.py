from django.db import models


class Article(models.Model):
    """What the views `db` and `pgquery` read one row of."""

    title = models.CharField(max_length=200)
    text = models.TextField()
    published = models.DateTimeField()


class Comment(models.Model):
    """What the view `pgpage` lists."""

    article = models.ForeignKey(Article, models.CASCADE)
    author = models.CharField(max_length=80)
    text = models.TextField()
